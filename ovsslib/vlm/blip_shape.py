"""Size of a BLIP network, read from transformers' ``config.json`` without importing either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovsslib.errors import OvssError


@dataclass(frozen=True)
class EncoderShape:
    """Size of one encoder: ``inner`` is the width between the two layers of its MLPs."""

    width: int
    inner: int
    layers: int
    heads: int
    eps: float


@dataclass(frozen=True)
class BlipShape:
    """Size of the network. ``image_size`` and ``patch`` are in pixels.

    Args:
        image: The image encoder.
        text: The text encoder.
        image_size: Side of the square pictures it was trained with.
        patch: Side of a patch.
        vocabulary: Number of token embeddings.
        positions: Most tokens in a text.
        pad: Id of the padding token.
        shared: Width of the space of the contrastive heads (kept, but not used for matching).
    """

    image: EncoderShape
    text: EncoderShape
    image_size: int
    patch: int
    vocabulary: int
    positions: int
    pad: int
    shared: int

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> BlipShape:
        """Read a ``config.json`` of transformers; what it leaves out has transformers' defaults.

        Raises:
            OvssError: A field has the wrong type or range, the heads do not divide the width, or
                the activation is not GELU.

        >>> BlipShape.from_dict({"vision_config": {"patch_size": 8}}).patch
        8
        """
        vision, text = _part(config, "vision_config"), _part(config, "text_config")
        return cls(
            image=_encoder(vision, "vision_config", heads=12, eps=1e-5),
            text=_encoder(text, "text_config", heads=8, eps=1e-12),
            image_size=_count(vision, "image_size", 384),
            patch=_count(vision, "patch_size", 16),
            vocabulary=_count(text, "vocab_size", 30524),
            positions=_count(text, "max_position_embeddings", 512),
            pad=_pad(text.get("pad_token_id") or 0),
            shared=_count(config, "image_text_hidden_size", 256),
        )


def _part(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = config.get(key) or {}
    if not isinstance(part, Mapping):
        raise OvssError(f"the model's {key} must be an object, got {part!r}")
    return part


def _pad(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise OvssError(f"the model's pad_token_id must be a whole number, got {value!r}")
    return value


def _count(fields: Mapping[str, Any], key: str, default: int) -> int:
    value = fields.get(key, default)
    if type(value) is not int or value < 1:
        raise OvssError(f"the model's {key} must be a positive whole number, got {value!r}")
    return value


def _encoder(fields: Mapping[str, Any], part: str, *, heads: int, eps: float) -> EncoderShape:
    if fields.get("hidden_act", "gelu") != "gelu":
        raise OvssError(f"{part}: activation {fields['hidden_act']!r} is not supported, only gelu")
    small = fields.get("layer_norm_eps", eps)
    if type(small) not in (int, float):
        raise OvssError(f"the model's layer_norm_eps must be a number, got {small!r}")
    shape = EncoderShape(
        width=_count(fields, "hidden_size", 768),
        inner=_count(fields, "intermediate_size", 3072),
        layers=_count(fields, "num_hidden_layers", 12),
        heads=_count(fields, "num_attention_heads", heads),
        eps=float(small),
    )
    if shape.width % shape.heads:
        raise OvssError(f"{part}: {shape.heads} heads do not divide a width of {shape.width}")
    return shape
