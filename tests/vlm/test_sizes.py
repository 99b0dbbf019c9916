"""Sizes out of config.json."""

from __future__ import annotations

from typing import Any

import pytest

from ovsslib.errors import OvssError
from ovsslib.vlm.sizes import BlipSizes, EncoderSizes


def test_defaults_are_those_of_transformers() -> None:
    from transformers import BlipConfig

    assert BlipSizes.from_dict({}) == BlipSizes.from_dict(BlipConfig().to_dict())


def test_every_size_is_read() -> None:
    names = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
    vision = dict(zip(names, (24, 40, 3, 6), strict=True))
    vision |= {"layer_norm_eps": 1e-3, "image_size": 56, "patch_size": 7}
    text = dict(zip(names, (20, 30, 2, 5), strict=True))
    text |= {"layer_norm_eps": 1e-4, "vocab_size": 11, "max_position_embeddings": 9}
    text["pad_token_id"] = 3
    fields = {"vision_config": vision, "text_config": text, "image_text_hidden_size": 13}
    assert BlipSizes.from_dict(fields) == BlipSizes(
        image=EncoderSizes(24, 40, 3, 6, 1e-3),
        text=EncoderSizes(20, 30, 2, 5, 1e-4),
        image_size=56,
        patch=7,
        vocabulary=11,
        positions=9,
        pad=3,
        shared=13,
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vision_config": {"patch_size": 0}}, "patch_size must be a positive whole number, .* 0"),
        ({"text_config": {"hidden_size": "a"}}, "hidden_size must be .*, got 'a'"),
        ({"text_config": {"vocab_size": True}}, "vocab_size must be"),
        ({"vision_config": {"num_attention_heads": 5}}, "5 heads do not divide a width of 768"),
        ({"text_config": {"hidden_act": "relu"}}, "text_config: activation 'relu' is not"),
        (
            {"text_config": {"layer_norm_eps": "x"}},
            "layer_norm_eps must be a number from 0 to 1, got 'x'",
        ),
        ({"text_config": {"pad_token_id": "x"}}, "pad_token_id must be a whole number, got 'x'"),
        ({"vision_config": [1]}, "vision_config must be an object"),
    ],
)
def test_wrong_sizes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OvssError, match=message):
        BlipSizes.from_dict(fields)
