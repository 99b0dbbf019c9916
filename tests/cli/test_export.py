"""`ovss export`: the two files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from ovsslib.vlm import load_vlm
from support.helpers import one_error, ovss
from support.onnx_matcher import OnnxMatcher


@pytest.mark.slow
def test_a_model_of_one_s_own(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    done = ovss("export", "--vlm", tiny, "--image-size", 64, "--out", out)
    assert done.exit_code == 0, done.output
    assert str(out / "model.onnx") in done.output
    card = json.loads((out / "model.json").read_text())
    assert (card["model"], card["image_size"], card["patch_size"]) == (tiny.name, 64, 8)
    blip = load_vlm(tiny, "cpu")
    pixels = blip.preprocess([Image.new("RGB", (9, 9), "red")], 64)
    text = blip.tokenize("a picture of grass")
    match = blip.match_layers(blip.encode_images(pixels), [text])
    found = OnnxMatcher((out / "model.onnx").read_bytes(), blip).run(pixels, text)
    assert torch.allclose(found[0], match.logits, atol=1e-4)
    assert torch.allclose(found[1], torch.stack(match.attention, 1), atol=1e-4)
    assert found[2].shape == found[1].shape == (1, 2, 4, 6, 65)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vlm", "micro-bridgetower"], ["micro-bridgetower cannot be exported", "give a BLIP"]),
        (["--vlm", "micro-blib"], ["did you mean 'micro-blip'"]),
        (["--image-size", "100"], ["not a multiple of the 8-pixel patch", "try 96"]),
    ],
)
def test_errors_are_one_line(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    one_error(ovss("export", *arguments, "--out", tmp_path), 2, *words)
    assert list(tmp_path.iterdir()) == []
