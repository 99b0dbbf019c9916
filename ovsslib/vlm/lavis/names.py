"""LAVIS's names of BLIP's weights, turned into those of transformers.

LAVIS (salesforce-lavis 1.0.2, `blip_image_text_matching`) and transformers hold the same
network; only the image encoder's parameters are called differently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

# Order matters: the final norm must not be mistaken for a block's norm1 or norm2.
_RULES: tuple[tuple[str, str], ...] = (
    (r"^visual_encoder\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed$", "vision_model.embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual_encoder\.norm\.", "vision_model.post_layernorm."),
    (
        r"^visual_encoder\.blocks\.(\d+)\.attn\.qkv\.",
        r"vision_model.encoder.layers.\1.self_attn.qkv.",
    ),
    (
        r"^visual_encoder\.blocks\.(\d+)\.attn\.proj\.",
        r"vision_model.encoder.layers.\1.self_attn.projection.",
    ),
    (r"^visual_encoder\.blocks\.(\d+)\.mlp\.", r"vision_model.encoder.layers.\1.mlp."),
    (
        r"^visual_encoder\.blocks\.(\d+)\.norm([12])\.",
        r"vision_model.encoder.layers.\1.layer_norm\2.",
    ),
)
# The epsilon of LAVIS's image encoder, where transformers' configuration defaults to 1e-5.
VISION_LAYER_NORM_EPS = 1e-6


def transformers_name(name: str) -> str:
    """The transformers name of one LAVIS parameter.

    Example:
        >>> transformers_name("visual_encoder.blocks.3.norm2.bias")
        'vision_model.encoder.layers.3.layer_norm2.bias'
        >>> transformers_name("itm_head.weight")
        'itm_head.weight'
    """
    for pattern, replacement in _RULES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    return name


def rename_state(state: Mapping[str, T]) -> dict[str, T]:
    """A LAVIS state dictionary under transformers' names, ready for `load_state_dict`.

    Args:
        state: Parameter name to tensor; not changed.

    Returns:
        A new dictionary of the same tensors, without the position-index buffers, which
        transformers recomputes.

    Example:
        >>> rename_state({"visual_encoder.cls_token": 1, "text_encoder.embeddings.position_ids": 2})
        {'vision_model.embeddings.class_embedding': 1}
    """
    return {
        transformers_name(name): tensor
        for name, tensor in state.items()
        if not name.endswith("position_ids")
    }
