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
from ovsslib.vlm.blip2 import Blip2Matcher
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
        ({"qformer_config": {"num_hidden_layers": 1}}, "holds 76 weights"),
        ({"qformer_config": {"num_attention_heads": 5}}, r"heads \(5\)"),
        ({"qformer_config": {"intermediate_size": 9}}, "weights whose shape is not"),
        ({"vision_config": {"hidden_act": "relux"}}, "relux"),
        ({"num_query_tokens": 0}, r"\(query_tokens"),
    ],
)
def test_impossible_settings(
    tiny_blip2: Path,  # noqa: F811
    tmp_path: Path,
    fields: dict[str, Any],
    message: str,
) -> None:
    """These are transformers' own words; ours is that the folder is named, on one line."""
    folder = shutil.copytree(tiny_blip2, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    for key, value in fields.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(OvssError, match=message) as caught:
        load_vlm(folder, "cpu")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_that_cannot_match_texts() -> None:
    words = make_tokenizer().backend_tokenizer
    with pytest.raises(OvssError, match="cannot match texts; take one for matching"):
        Blip2Matcher(make_model(qformer={"use_qformer_text_input": False}), words)
    with pytest.raises(OvssError, match="Q-Former of one layer has no word"):
        Blip2Matcher(make_model(qformer={"num_hidden_layers": 1}), words)


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
    with pytest.raises(OvssError, match=r"lacks 1 weights that Blip2\w+ needs \(itm_head\.weight"):
        load_vlm(folder, "cpu")
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["purple"])
    with pytest.raises(OvssError, match=r"has \d+ entries for \d+ embeddings"):
        Blip2Matcher(make_model(), tokenizer.backend_tokenizer)
