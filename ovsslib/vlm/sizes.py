"""Sizes of networks out of a `config.json`, checked before memory is asked for.

Nothing here imports torch or transformers.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovsslib.errors import OvssError


@dataclass(frozen=True)
class EncoderSizes:
    """Size of one encoder: `inner` is the width between the two layers of its MLPs."""

    width: int
    inner: int
    layers: int
    heads: int
    eps: float


def part_of(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of a configuration; an absent one is empty, another type an error."""
    part = config.get(key) or {}
    if not isinstance(part, Mapping):
        raise OvssError(f"the model's {key} must be an object, got {part!r}")
    return part


def token_id(value: Any) -> int:
    """The id of the padding token, checked."""
    if type(value) is not int or value < 0:
        raise OvssError(f"the model's pad_token_id must be a whole number, got {value!r}")
    return value


def count(fields: Mapping[str, Any], key: str, default: int) -> int:
    """A positive whole number that some network might have, checked."""
    value, most = fields.get(key, default), 1_000 if key.endswith("layers") else 1_000_000
    if type(value) is not int or not 1 <= value <= most:
        raise OvssError(
            f"the model's {key} must be a positive whole number, at most {most}, got "
            f"{reprlib.repr(value)}"
        )
    return value


def epsilon(fields: Mapping[str, Any], default: float) -> float:
    """What layer norms add to the variance, checked."""
    small = fields.get("layer_norm_eps", default)
    if type(small) not in (int, float) or not 0 <= small <= 1:
        raise OvssError(f"the model's layer_norm_eps must be a number from 0 to 1, got {small!r}")
    return float(small)


def encoder(fields: Mapping[str, Any], part: str, *, heads: int, eps: float) -> EncoderSizes:
    """The size of a text or image encoder; what `fields` leaves out has BERT's defaults."""
    if fields.get("hidden_act", "gelu") != "gelu":
        raise OvssError(f"{part}: activation {fields['hidden_act']!r} is not supported, only gelu")
    shape = EncoderSizes(
        width=count(fields, "hidden_size", 768),
        inner=count(fields, "intermediate_size", 3072),
        layers=count(fields, "num_hidden_layers", 12),
        heads=count(fields, "num_attention_heads", heads),
        eps=epsilon(fields, eps),
    )
    if shape.width % shape.heads:
        raise OvssError(f"{part}: {shape.heads} heads do not divide a width of {shape.width}")
    return shape


# What the families' configurations call their sizes.
_COUNTS = frozenset(
    "hidden_size encoder_hidden_size intermediate_size image_text_hidden_size projection_dim "
    "num_hidden_layers num_attention_heads num_query_tokens image_size patch_size vocab_size "
    "max_position_embeddings cross_attention_frequency "
    "width layers heads embed_dim head_width context_length".split()  # open_clip
)


def read_config(path: Path) -> dict[str, Any]:
    """A model's configuration, with every size in it checked.

    Args:
        path: `config.json` of transformers or `open_clip_config.json`.

    Raises:
        OvssError: It cannot be read, or a size is impossible, or a number is not finite.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        _check_counts(config)
    except OvssError as error:
        raise OvssError(f"{path}: {error}") from error
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise OvssError(f"{path} is not a model's configuration; fetch it again") from error
    return dict(config)


def _check_counts(config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        if isinstance(value, Mapping):
            _check_counts(value)
        elif key == "layer_norm_eps":
            epsilon(config, 0)
        elif isinstance(value, float) and not math.isfinite(value):
            raise OvssError(f"the model's {key} must be a finite number, got {value!r}")
        elif key in _COUNTS and value is not None:
            for each in value if isinstance(value, list) else [value]:  # ResNets have several
                count({key: each}, key, 1)


@dataclass(frozen=True)
class BlipSizes:
    """Size of the network. `image_size` and `patch` are in pixels.

    Attributes:
        image: The image encoder.
        text: The text encoder.
        image_size: Side of the square images it was trained with.
        patch: Side of a patch.
        vocabulary: Number of token embeddings.
        positions: Most tokens in a text.
        pad: Id of the padding token.
        shared: Width of the space of the contrastive heads (kept, but not used for matching).
    """

    image: EncoderSizes
    text: EncoderSizes
    image_size: int
    patch: int
    vocabulary: int
    positions: int
    pad: int
    shared: int

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> BlipSizes:
        """Read a `config.json` of transformers; what it leaves out has transformers' defaults.

        Raises:
            OvssError: A field has the wrong type or range, the heads do not divide the width, or
                the activation is not GELU.

        Example:
            >>> BlipSizes.from_dict({"vision_config": {"patch_size": 8}}).patch
            8
        """
        vision, text = part_of(config, "vision_config"), part_of(config, "text_config")
        return cls(
            image=encoder(vision, "vision_config", heads=12, eps=1e-5),
            text=encoder(text, "text_config", heads=8, eps=1e-12),
            image_size=count(vision, "image_size", 384),
            patch=count(vision, "patch_size", 16),
            vocabulary=count(text, "vocab_size", 30524),
            positions=count(text, "max_position_embeddings", 512),
            pad=token_id(text.get("pad_token_id") or 0),
            shared=count(config, "image_text_hidden_size", 256),
        )
