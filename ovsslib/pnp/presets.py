"""Which preset suits a model when the user names none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovsslib.pnp.config import PRESETS, PnPConfig, preset

if TYPE_CHECKING:
    from ovsslib.vlm.protocol import ImageTextMatcher

PUBLISHED_SIZE = 384
"""Side in pixels for which the published BLIP image-text matching models were trained."""


def default_preset(matcher: ImageTextMatcher, folder: Path | None = None) -> str:
    """The preset made for a model.

    The first of these whose layer and head the model has: the preset called like the model; the
    one that `training.json` in its folder names (`ovss train` writes it); that of its
    architecture, `"blip"` or `"bridgetower"`. A model too small for all of them gets
    `"micro-blip"`.

    Args:
        matcher: The model.
        folder: Its checkpoint, if it has one.

    Returns:
        A key of `ovsslib.pnp.config.PRESETS`.
    """
    trained = trained_model(folder) if folder is not None else None
    family = getattr(matcher, "family", "blip")
    for name in (matcher.name, trained, family):
        if name is not None and name in PRESETS and _fits(PRESETS[name], matcher):
            return name
    return "micro-blip"


def _fits(config: PnPConfig, matcher: ImageTextMatcher) -> bool:
    return config.layer <= matcher.layers and (config.head or 1) <= matcher.heads


def trained_model(folder: Path) -> str | None:
    """What `training.json` in a checkpoint folder calls the model; None without such a file."""
    try:
        fields = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        name = fields["model"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) else None


def default_config(
    matcher: ImageTextMatcher, folder: Path | None = None, **overrides: Any
) -> PnPConfig:
    """The settings for a model when the user names no preset.

    An image size in the preset holds for the published models. A model of another size keeps
    its own (`image_size=None`); a preset or a size that the user names is never changed.

    Args:
        matcher: The model.
        folder: Its checkpoint, if it has one.
        **overrides: Fields of `ovsslib.pnp.config.PnPConfig` to change.

    Raises:
        OvssError: A field is unknown or out of range.
    """
    config = preset(default_preset(matcher, folder))
    if config.image_size is not None and matcher.image_size != PUBLISHED_SIZE:
        config = config.replace(image_size=None)
    return config.replace(**overrides)
