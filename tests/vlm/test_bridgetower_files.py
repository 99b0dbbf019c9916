"""Checkpoints of BridgeTower: what loads, and what gets an error."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.vlm import load_vlm
from ovsslib.vlm.bridgetower.matcher import BridgeTowerMatcher
from ovsslib.vlm.bridgetower.shape import BridgeTowerShape
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


def test_sizes_of_the_published_models() -> None:
    base = BridgeTowerShape.from_dict({})
    assert (base.cross, base.first, base.positions, base.image_size) == (6, 7, 512, 288)


def test_weights_of_other_heads_are_ignored(folder: Path) -> None:
    more = {"mlm_score.bias": torch.zeros(9), "logit_scale": torch.zeros(())}
    change_weights(folder, **more, **{"itc_text_head.fc.weight": torch.zeros(3, 3)})
    assert load_vlm(folder, "cpu").layers == 3
    change_weights(folder, **{"itm_score.more": torch.zeros(1)})
    with pytest.raises(OvssError, match=r"holds 1 weights that BridgeTower lacks \(itm_score.more"):
        load_vlm(folder, "cpu")


def test_missing_weights(folder: Path) -> None:
    change_weights(folder, without="itm_score.fc.weight")
    with pytest.raises(OvssError, match=r"lacks 1 weights of BridgeTower \(itm_score.fc.weight"):
        load_vlm(folder, "cpu")


def test_truncated_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OvssError, match=r"cannot load the model in .*fetch it again") as caught:
        load_vlm(folder, "cpu")
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OvssError, match=r"holds no model\.safetensors"):
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
        ({"hidden_size": 64}, "cross-modal width 64 is not the text encoder's 32"),
        ({"num_hidden_layers": 5}, "5 cross-modal layers need as many text layers"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a positive whole number, got 0"),
        ({"link_tower_type": "ad"}, "unknown link_tower_type 'ad'; did you mean 'add'"),
        ({"share_link_tower_layers": True}, "share_link_tower_layers is not supported"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps must be a number"),
        ({"text_config": {"num_attention_heads": 5}}, "5 heads do not divide a width of 32"),
        ({"text_config": 5}, "text_config must be an object, got 5"),
        ({"vision_config": {"hidden_size": 129}}, "2 heads do not divide a width of 129"),
        ({"vision_config": {"patch_size": [8, 8]}}, "patch_size must be a positive whole number"),
        ({"text_config": {"pad_token_id": "x"}}, "pad_token_id must be a whole number, got 'x'"),
        ({"text_config": {"pad_token_id": 64}}, "66 position embeddings leave no room for a text"),
    ],
)
def test_impossible_settings(folder: Path, fields: dict[str, Any], message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    for key, value in fields.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(OvssError, match=rf"config\.json: .*{message}"):
        load_vlm(folder, "cpu")


def test_loading_imports_neither_transformers_nor_a_compiler(tiny_bridgetower: Path) -> None:  # noqa: F811
    code = (
        "import sys; from ovsslib.vlm import load_vlm; load_vlm(sys.argv[1], 'cpu');"
        "print(sorted({'transformers', 'torchvision', 'torch._dynamo', 'sympy', 'scipy'}"
        " & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, str(tiny_bridgetower)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
