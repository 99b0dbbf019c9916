"""Names of models on the hub: where their files are, and how to get those that are not here.

Needs no torch, so that a program which only hands out work starts fast.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ovsslib.errors import OvssError
from ovsslib.io.download import hub_folder, is_url
from ovsslib.io.network import causes

GATED = {"facebook/sam3": "SAM License"}
"""Hub id -> licence that must be accepted before the files can be fetched."""


def find(name: str, what: str, *, download: bool = False) -> Path:
    """The folder of a model.

    Args:
        name: A folder or a hub id.
        what: What errors call such a model.
        download: Whether the network may be used.

    Raises:
        OvssError: It is not here; says how to get it, and what licence must be accepted before.
    """
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise OvssError(f"{name} holds no config.json; give a folder made by save_pretrained")
        return Path(name)
    if name.count("/") != 1 or ":" in name or name.startswith((".", "/", "~")):
        raise OvssError(f"{name}: neither a folder nor a hub id, where {what} is needed")
    with licensed(name):
        return hub_folder(name, download=download)


@contextlib.contextmanager
def licensed(name: str) -> Iterator[None]:
    """Say of a model that is not here how its licence is accepted, if it has to be.

    Args:
        name: The model's.
    """
    try:
        yield
    except OvssError as error:
        gated = any(type(cause).__name__ == "GatedRepoError" for cause in causes(error))
        if name not in GATED and not gated:
            raise
        terms = GATED.get(name, "licence on its page")
        raise OvssError(
            f"{error}; it is gated ({terms}): accept the terms at https://huggingface.co/{name}, "
            f"then `hf auth login` and `hf download {name}`"
        ) from error


def several(name: str) -> tuple[str, ...]:
    """The models that a name stands for: hub ids or folders joined by a plus, or one of any kind.

    Example:
        >>> several("google/owlv2-base-patch16-ensemble+facebook/sam2.1-hiera-tiny")[1]
        'facebook/sam2.1-hiera-tiny'
        >>> several("micro-clip")
        ('micro-clip',)
    """
    whole = "+" not in name or is_url(name) or os.path.exists(name) or ":" in name
    return (name,) if whole else tuple(name.split("+"))
