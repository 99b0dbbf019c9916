"""Reading sizes out of transformers' `config.json`, with an error for what cannot be a size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovsslib.errors import OvssError


@dataclass(frozen=True)
class EncoderShape:
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
    """A positive whole number, checked."""
    value = fields.get(key, default)
    if type(value) is not int or value < 1:
        raise OvssError(f"the model's {key} must be a positive whole number, got {value!r}")
    return value


def epsilon(fields: Mapping[str, Any], default: float) -> float:
    """What layer norms add to the variance, checked."""
    small = fields.get("layer_norm_eps", default)
    if type(small) not in (int, float):
        raise OvssError(f"the model's layer_norm_eps must be a number, got {small!r}")
    return float(small)


def encoder(fields: Mapping[str, Any], part: str, *, heads: int, eps: float) -> EncoderShape:
    """The size of a text or image encoder; what `fields` leaves out has BERT's defaults."""
    if fields.get("hidden_act", "gelu") != "gelu":
        raise OvssError(f"{part}: activation {fields['hidden_act']!r} is not supported, only gelu")
    shape = EncoderShape(
        width=count(fields, "hidden_size", 768),
        inner=count(fields, "intermediate_size", 3072),
        layers=count(fields, "num_hidden_layers", 12),
        heads=count(fields, "num_attention_heads", heads),
        eps=epsilon(fields, eps),
    )
    if shape.width % shape.heads:
        raise OvssError(f"{part}: {shape.heads} heads do not divide a width of {shape.width}")
    return shape
