"""Named settings, and which of them suit a model when the user names none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovsslib.errors import OvssError
from ovsslib.io.files import read_text
from ovsslib.lookup import pick
from ovsslib.pnp.config import PnPConfig

if TYPE_CHECKING:
    from ovsslib.vlm.protocol import ImageTextMatcher

_RELEASED: dict[str, Any] = {
    "normalise": False,
    "max_side": None,
    "last_name": "sum",
    "name_spaces": False,
    "drop_value": "mean",
    "drop_zero": True,
    "drop_sep": True,
    "ties": "numpy",
    "round0_twice": True,
    "align_corners": True,
    "constant_planes": "nan",
}

# Layers and heads of "blip" and "bridgetower": the poster's Table 2. The released code writes
# BLIP's head as 9, counted from 0: the tenth.
PRESETS: dict[str, PnPConfig] = {
    "blip": PnPConfig(layer=8, head=10, image_size=336, max_side=None),
    "bridgetower": PnPConfig(layer=2, head=8, max_side=None),
    "released-code": PnPConfig(layer=8, head=10, image_size=336, **_RELEASED),
    # Layer, head, threshold and blur: found without masks by `ovss tune`, the CLIP reward on 100
    # images of Diorama's train split (book, "Tuning without masks"). The rest is the paper's.
    "micro-blip": PnPConfig(layer=2, head=None, threshold=0.05, blur=0.03),
    "micro-bridgetower": PnPConfig(layer=2, head=None, threshold=0.15, blur=0.01),
}


PUBLISHED_SIZE = 384
"""Side in pixels for which the published BLIP image-text matching models were trained."""


def preset(name: str | os.PathLike[str], **overrides: Any) -> PnPConfig:
    """A named configuration, with some fields changed if wanted.

    Args:
        name: A key of `PRESETS`, or a JSON file whose `config` holds all fields, such as
            `ovss tune` writes.
        **overrides: Fields of `PnPConfig`.

    Raises:
        OvssError: The preset or a field is unknown, a value is out of range, or the file cannot be
            read.

    Example:
        >>> preset("blip", crf=False).head
        10
    """
    if str(name).endswith(".json"):
        return _from_file(str(name)).replace(**overrides)
    known: Any = name  # a path is no name, and is refused as one
    return pick("preset", known, PRESETS).replace(**overrides)


def _from_file(path: str) -> PnPConfig:
    """The settings in a preset file."""
    text = read_text(path)
    try:
        return PnPConfig().replace(**json.loads(text)["config"])
    except (ValueError, LookupError, TypeError, OvssError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OvssError(
            f"{path}: no preset can be read there ({reason}); write one with ovss tune"
        ) from error


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
        A key of `PRESETS`.
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
