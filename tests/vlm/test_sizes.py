"""Sizes out of config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ovsslib.errors import OvssError
from ovsslib.vlm.sizes import BlipSizes, EncoderSizes, read_config


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
        ({"vision_config": {"hidden_size": 10**9}}, "hidden_size must .* at most 1000000, got 10"),
        ({"a": {"b": {"num_hidden_layers": 1001}}}, "num_hidden_layers must .* at most 1000, got"),
        ({"vocab_size": -1}, "vocab_size must be a positive whole number"),
        ({"image_size": 3.5}, "image_size must be a positive whole number"),
        ({"patch_size": "x" * 9999}, "patch_size must be a positive whole number"),
        ({"hidden_size": 10**4000}, "hidden_size must be a positive whole number"),
        ({"vision_cfg": {"layers": [3, 0]}}, "layers must be a positive whole number"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps must be a number from 0 to 1, got nan"),
        ({"layer_norm_eps": -1}, "layer_norm_eps must be a number from 0 to 1, got -1"),
        ({"x": {"rate": float("inf")}}, "rate must be a finite number, got inf"),
        ([1], "is not a model's configuration; fetch it again"),
        (None, "is not a model's configuration; fetch it again"),
    ],
)
def test_configurations_that_nobody_has(tmp_path: Path, fields: Any, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(OvssError, match=rf"^\S*config\.json.*{message}.*$") as caught:
        read_config(path)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[" * 99999])
def test_configurations_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(OvssError, match=r"is not a model's configuration; fetch it again$"):
        read_config(tmp_path / "config.json")


def test_a_configuration_is_read_as_it_stands(tmp_path: Path) -> None:
    fields = {"hidden_size": 4, "patch_size": None, "layers": [3, 4], "layer_norm_eps": 0}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert read_config(tmp_path / "config.json") == fields


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
