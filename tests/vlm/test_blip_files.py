"""Files of BLIP checkpoints: tokenizers, settings of the processor, weights."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.vlm.blip.matcher import BlipMatcher, load_blip, load_tokenizer, read_processor
from support.helpers import tiny_blip  # noqa: F401 - a fixture
from vlm.test_blip_matcher import CPU, TEXTS


def test_enc_of_hub_checkpoints_is_the_last_embedding(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    full = load_blip(tiny_blip, "tiny", torch.float32, CPU)
    fields = json.loads((tiny_blip / "tokenizer.json").read_text())
    vocabulary = fields["model"]["vocab"]
    words = [word for word in vocabulary if word not in ("[ENC]", "[DEC]")]
    fields["model"]["vocab"] = {word: index for index, word in enumerate(words)}
    fields["added_tokens"] = [
        {**token, "id": words.index(token["content"])}
        for token in fields["added_tokens"]
        if token["content"] in words
    ]
    for special in fields["post_processor"]["special_tokens"].values():
        special["ids"] = [words.index(token) for token in special["tokens"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.token_to_id("[ENC]") is None
    assert BlipMatcher(full.model, tokenizer)._enc == len(vocabulary) - 1
    del fields["model"]["vocab"]["zzz" if "zzz" in fields["model"]["vocab"] else "##z"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(OvssError, match=r"no \[ENC\] token"):
        BlipMatcher(full.model, load_tokenizer(tmp_path))


def test_tokenizer_from_a_vocabulary_file(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    expected = load_tokenizer(tiny_blip)
    vocabulary = sorted(expected.get_vocab().items(), key=lambda entry: entry[1])
    (tmp_path / "vocab.txt").write_text("\n".join(word for word, _ in vocabulary) + "\n")
    for name in ("config.json", "tokenizer_config.json"):
        shutil.copy(tiny_blip / name, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    for text in TEXTS:
        assert tokenizer.encode(text).ids == expected.encode(text).ids


def test_folder_without_a_tokenizer(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "bare"
    shutil.copytree(tiny_blip, folder)
    (folder / "tokenizer.json").unlink()
    message = f"^{re.escape(str(folder))} holds no tokenizer.json; fetch the checkpoint again$"
    with pytest.raises(OvssError, match=message):
        load_tokenizer(folder)
    with pytest.raises(OvssError, match=message):
        load_blip(folder, "bare", torch.float32, CPU)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(OvssError, match=r"cannot load the tokenizer in .*; fetch it again"):
        load_blip(folder, "bare", torch.float32, CPU)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_processor_files_of_both_generations(tmp_path: Path, name: str) -> None:
    fields: dict[str, Any] = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}
    if name.startswith("processor"):
        fields = {"image_processor": fields}
    (tmp_path / name).write_text(json.dumps(fields))
    assert read_processor(tmp_path) == {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}
    assert read_processor(tmp_path / "nowhere") == {}


def test_broken_settings(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "broken"
    shutil.copytree(tiny_blip, folder)
    (folder / "processor_config.json").write_text("[")
    with pytest.raises(OvssError, match=r"processor_config\.json cannot be read; fetch it again"):
        load_blip(folder, "broken", torch.float32, CPU)
    fields = json.loads((folder / "config.json").read_text())
    fields["vision_config"]["patch_size"] = -1
    (folder / "config.json").write_text(json.dumps(fields))
    with pytest.raises(OvssError, match=r"config\.json: the model's patch_size must be a positive"):
        load_blip(folder, "broken", torch.float32, CPU)


def test_absent_weights_are_an_error(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(tiny_blip, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["itm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OvssError, match=r"lacks 1 weights of BLIP \(itm_head.weight"):
        load_blip(folder, "broken", torch.float32, CPU)


def test_truncated_weights(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "broken"
    shutil.copytree(tiny_blip, folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OvssError, match=r"cannot load the model in .*fetch it again") as caught:
        load_blip(folder, "broken", torch.float32, CPU)
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OvssError, match="cannot load the model"):
        load_blip(folder, "broken", torch.float32, CPU)
