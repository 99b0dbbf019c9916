"""BLIP-2 checkpoints that cannot be used, and how the error says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.vlm import load_vlm
from ovsslib.vlm.blip2.matcher import Blip2Matcher
from support.tiny_blip2 import make_model, make_tokenizer, tiny_blip2  # noqa: F401 - a fixture


def test_wrong_layer_and_foreign_tokens(tiny_blip2: Path) -> None:  # noqa: F811
    matcher = load_vlm(tiny_blip2, "cpu")
    text = matcher.tokenize("cat")
    for layer in (0, 3):
        with pytest.raises(OvssError, match=f"layer {layer} does not exist; .* layers 1 to 2"):
            matcher.match(torch.zeros(1, 17, 24), [text], layer)
    with pytest.raises(OvssError, match=r"\(1, 17, 32\) are not from .* have 24 features"):
        matcher.match(torch.zeros(1, 17, 32), [text], 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"qformer_config": {"use_qformer_text_input": False}}, "cannot match texts; take one"),
        ({"qformer_config": {"num_hidden_layers": 1}}, "Q-Former of one layer has no word"),
        ({"qformer_config": {"num_attention_heads": 5}}, "5 heads do not divide a width of 32"),
        ({"qformer_config": {"encoder_hidden_size": 9}}, "image tokens of width 9, .* have 24"),
        ({"vision_config": {"qkv_bias": False}}, "qkv_bias false is not supported"),
        ({"vision_config": {"hidden_act": "relu"}}, "activation 'relu' is not supported"),
        ({"num_query_tokens": 0}, "num_query_tokens must be a positive whole number, got 0"),
    ],
)
def test_impossible_settings(
    tiny_blip2: Path,  # noqa: F811
    tmp_path: Path,
    fields: dict[str, Any],
    message: str,
) -> None:
    config = json.loads((tiny_blip2 / "config.json").read_text())
    for key, value in fields.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(OvssError, match=rf"config\.json: .*{message}"):
        load_vlm(tmp_path, "cpu")


def test_weights_of_other_heads(tiny_blip2: Path, tmp_path: Path) -> None:  # noqa: F811
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_blip2, tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    assert "text_projection.weight" in weights  # read past
    weights["language_model.lm_head.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "model.safetensors")
    assert load_vlm(folder, "cpu").layers == 2
    del weights["itm_head.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(OvssError, match=r"lacks 1 weights of BLIP-2 \(itm_head\.weight"):
        load_vlm(folder, "cpu")
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["purple"])
    with pytest.raises(OvssError, match=r"has \d+ entries for \d+ embeddings"):
        Blip2Matcher(make_model(), tokenizer.backend_tokenizer)
