"""The models of a run: whether they are on this machine, and how they get here before it begins.

Workers never use the network for a model: they might fetch the same files at the same time, and on
a cluster they often have none. What is fetched here they find in the local caches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovsslib.evaluate.fingerprint import locate_model, models_of
from ovsslib.filters.clip import fetch_open_clip
from ovsslib.methods import BESIDE

if TYPE_CHECKING:
    from ovsslib.evaluate.spec import RunSpec


def find_models(spec: RunSpec, *, download: bool = False) -> None:
    """Look for the models of a run's method, without loading them, and fetch those that lack.

    `ovsslib.filters.base.ClassFilter` has its own functions for the model of a class filter.

    Args:
        spec: The run.
        download: Whether the network may be used. Without it nothing is said of weights that
            open_clip knows by a name; loading them will tell.

    Raises:
        OvssError: A name is unknown, or a model is not on this machine or cannot be fetched.
    """
    for name in models_of(spec):
        if locate_model(name, download=download) is None and download:
            fetch_open_clip(name)
    dino = spec.config.get("dino", BESIDE.get(spec.method, {}).get("dino"))
    if isinstance(dino, str):
        from ovsslib.peers.dino import locate

        locate(dino, download=download)
