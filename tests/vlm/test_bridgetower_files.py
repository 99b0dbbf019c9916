"""Checkpoints of BridgeTower: what loads, and what gets an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.vlm import load_vlm
from ovsslib.vlm.bridgetower import BridgeTowerMatcher
from ovsslib.vlm.inputs import load_tokenizer
from support.tiny_bridgetower import make_tokenizer, tiny_bridgetower  # noqa: F401 - a fixture


@pytest.fixture
def folder(tiny_bridgetower: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A copy to break."""
    return Path(shutil.copytree(tiny_bridgetower, tmp_path / "copy"))


def change_weights(folder: Path, *, without: str = "", **more: torch.Tensor) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors") | more
    weights = {name: value for name, value in weights.items() if name != without}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_what_a_folder_says(tiny_bridgetower: Path) -> None:  # noqa: F811
    matcher = load_vlm(tiny_bridgetower, "cpu")
    assert isinstance(matcher, BridgeTowerMatcher)
    assert matcher.name == tiny_bridgetower.name
    assert (matcher.layers, matcher.heads, matcher.image_size, matcher.patch_size) == (3, 4, 32, 8)
    assert matcher.max_tokens == 64  # 66 positions, of which RoBERTa leaves two unused
    longest = matcher.tokenize("q" * 62)
    assert len(longest.ids) == 64
    match = matcher.match(matcher.encode_images(torch.zeros(1, 3, 32, 32)), [longest], 3)
    assert match.attention.shape == (1, 4, 64, 17)


def test_weights_of_other_heads_are_ignored(folder: Path) -> None:
    more = {"mlm_score.bias": torch.zeros(9), "logit_scale": torch.zeros(())}
    change_weights(folder, **more, **{"itc_text_head.fc.weight": torch.zeros(3, 3)})
    assert load_vlm(folder, "cpu").layers == 3
    change_weights(folder, **{"itm_score.more": torch.zeros(1)})
    with pytest.raises(
        OvssError, match=r"holds 1 weights that BridgeTower\w+ lacks \(itm_score.more"
    ):
        load_vlm(folder, "cpu")


def test_missing_weights(folder: Path) -> None:
    change_weights(folder, without="itm_score.fc.weight")
    with pytest.raises(OvssError, match=r"lacks 1 weights that \w+ needs \(itm_score.fc.weight"):
        load_vlm(folder, "cpu")


def test_truncated_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OvssError, match=r"cannot load the model in .*fetch it again") as caught:
        load_vlm(folder, "cpu")
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OvssError, match=r"no file named model\.safetensors"):
        load_vlm(folder, "cpu")


def test_wrong_layer_and_foreign_tokens(tiny_bridgetower: Path) -> None:  # noqa: F811
    matcher = load_vlm(tiny_bridgetower, "cpu")
    text = matcher.tokenize("cat")
    for layer in (0, 4):
        with pytest.raises(OvssError, match=f"layer {layer} does not exist; .* layers 1 to 3"):
            matcher.match(torch.zeros(1, 17, 96), [text], layer)
    with pytest.raises(OvssError, match=r"\(1, 17, 32\) are not from .* have 96 features"):
        matcher.match(torch.zeros(1, 17, 32), [text], 1)


def test_tokenizers(folder: Path) -> None:
    expected = load_tokenizer(folder)
    fields = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    with pytest.raises(OvssError, match=r"holds no tokenizer\.json"):
        load_vlm(folder, "cpu")
    # Older checkpoints hold RoBERTa's two files.
    (folder / "vocab.json").write_text(json.dumps(fields["vocab"]))
    merges = [" ".join(pair) for pair in fields["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    read = load_tokenizer(folder)
    for text in ("A picture of hot dog 猫", "<mask> zyx"):
        assert read.encode(text).ids == expected.encode(text).ids
    large = make_tokenizer([f"{n}word{n}" for n in range(99)], size=999)
    large.save_pretrained(folder)
    with pytest.raises(OvssError, match=r"has \d+ entries for \d+ embeddings"):
        load_vlm(folder, "cpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 64}, "weights whose shape is not"),
        ({"num_hidden_layers": 5}, "lacks 112 weights"),
        ({"num_hidden_layers": 0}, "holds 164 weights"),
        ({"link_tower_type": "ad"}, "link_tower_type ad"),
        ({"share_link_tower_layers": True}, "cross_modal_image_link_tower"),
        ({"layer_norm_eps": "x"}, "'layer_norm_eps'"),
        ({"text_config": {"num_attention_heads": 5}}, r"heads \(5\)"),
        ({"text_config": 5}, "'text_config' with value 5"),
        ({"vision_config": {"hidden_size": 129}}, "must be divisible"),
        ({"vision_config": {"patch_size": [8, 8]}}, "list"),
        ({"text_config": {"pad_token_id": "x"}}, "'pad_token_id'"),
        ({"text_config": {"pad_token_id": 64}}, "66 position embeddings leave no room for a text"),
    ],
)
def test_impossible_settings(folder: Path, fields: dict[str, Any], message: str) -> None:
    """Most are transformers' own words; ours is that the folder is named, on one line."""
    config = json.loads((folder / "config.json").read_text())
    for key, value in fields.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(OvssError, match=message) as caught:
        load_vlm(folder, "cpu")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
