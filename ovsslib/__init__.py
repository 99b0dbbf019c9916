"""Open-vocabulary semantic segmentation with frozen vision-language models.

Example:
    >>> import ovsslib
    >>> ovsslib.preset("blip").layer
    8
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from ovsslib.datasets import load_dataset
    from ovsslib.evaluate.run import run
    from ovsslib.evaluate.spec import RunSpec
    from ovsslib.methods import load
    from ovsslib.pnp.config import PnPConfig
    from ovsslib.pnp.pipeline import PnPOVSS
    from ovsslib.pnp.presets import preset
    from ovsslib.pnp.result import Segmentation, Segmenter
    from ovsslib.vlm import load_vlm

__version__ = "0.1.0"

__all__ = [
    "OvssError",
    "PnPConfig",
    "PnPOVSS",
    "RunSpec",
    "Segmentation",
    "Segmenter",
    "__version__",
    "load",
    "load_dataset",
    "load_vlm",
    "preset",
    "run",
]

# Public name -> module, imported on first use: `import ovsslib` must stay fast.
_LAZY = {
    "PnPConfig": "ovsslib.pnp.config",
    "PnPOVSS": "ovsslib.pnp.pipeline",
    "RunSpec": "ovsslib.evaluate.spec",
    "Segmentation": "ovsslib.pnp.result",
    "Segmenter": "ovsslib.pnp.result",
    "load": "ovsslib.methods",
    "load_dataset": "ovsslib.datasets",
    "load_vlm": "ovsslib.vlm",
    "preset": "ovsslib.pnp.presets",
    "run": "ovsslib.evaluate.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
