"""Models whose numbers are not finite: every command says so, and none gives a result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import SMALL
from ovsslib.datasets import load_dataset
from support.helpers import ROOT, one_error, ovss, write_photo, write_voc

CLIP = ROOT / "data/checkpoints/micro-clip"


def spoil(folder: Path, tensor: str, change: Callable[[torch.Tensor], Any]) -> None:
    """Change one tensor of a folder's weights."""
    (file,) = folder.glob("*.safetensors")
    weights = {name: value.clone() for name, value in load_file(file).items()}
    change(weights[tensor])
    save_file(weights, file, metadata={"format": "pt"})


def one_nan(weight: torch.Tensor) -> None:
    weight.view(-1)[weight.numel() // 2] = torch.nan


@pytest.fixture
def model(tmp_path: Path, tiny: Path) -> Path:
    """A copy that may be spoilt."""
    return shutil.copytree(tiny, tmp_path / "spoilt")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return shutil.copytree(CLIP, tmp_path / "clip")


def commands(model: Path, tmp_path: Path) -> dict[str, list[object]]:
    """Each command that loads a matcher, with the least to do."""
    photo, data = write_photo(tmp_path / "a.jpg"), write_voc(tmp_path / "data", 2)
    here = ["--device", "cpu", "--root", data, "--limit", 2]
    out = ["--out", tmp_path / "out.json"]
    given = ["--vlm", model]
    return {
        "segment": ["segment", photo, "-c", "cat", *given, *SMALL, "--out", tmp_path / "out"],
        "run": ["run", *given, *SMALL, *here, "--out", tmp_path / "out"],
        "localise": ["localise", *given, *here, "--split", "val"],
        "tune": ["tune", *given, "--device", "cpu", "--limit", 2, "--trials", 1, *out],
        "filter tune": ["filter", "tune", f"vlm:{model}", *here[2:], "--split", "val"],
        "filter score": ["filter", "score", f"vlm:{model}", *here[2:]],
        "bench salience": ["bench", "salience", *given, "--device", "cpu", "--no-memory"],
    }


COMMANDS = (
    "segment", "run", "localise", "tune", "filter tune", "filter score", "bench salience",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_weight_that_is_nan(model: Path, tmp_path: Path, command: str) -> None:
    name = "text_encoder.encoder.layer.0.output.dense.weight"
    spoil(model, name, one_nan)
    done = ovss(*commands(model, tmp_path)[command])
    one_error(done, 2, str(model), f"the weight {name} holds NaN")
    assert done.stdout == ""
    assert not [*tmp_path.glob("out/**/*.*"), *tmp_path.glob("out.json")]


@pytest.mark.parametrize("command", COMMANDS)
def test_colours_that_divide_by_zero(model: Path, tmp_path: Path, command: str) -> None:
    file = model / "processor_config.json"
    fields = json.loads(file.read_text())
    fields["image_processor"]["image_std"] = [0, 0, 0]
    file.write_text(json.dumps(fields))
    one_error(ovss(*commands(model, tmp_path)[command]), 2, str(model), "image_std", "[0, 0, 0]")


@pytest.mark.parametrize("command", ["segment", "run", "filter tune", "localise", "tune"])
def test_scores_that_overflow(model: Path, tmp_path: Path, command: str) -> None:
    """Every weight is finite, and the sums are not: the first image is named."""
    spoil(model, "text_encoder.embeddings.LayerNorm.weight", lambda weight: weight.fill_(3e38))
    image = {"segment": "a.jpg", "tune": load_dataset("diorama", split="tune").ids[0]}
    one_error(
        ovss(*commands(model, tmp_path)[command]),
        2,
        f"{image.get(command, 'img_0000')}: ",
        "NaN or infinite",
    )


@pytest.mark.parametrize("command", ["filter tune", "filter score", "run", "tune"])
@pytest.mark.parametrize("fault", ["weight", "colours"])
def test_a_clip_that_is_not_finite(clip: Path, tmp_path: Path, command: str, fault: str) -> None:
    if fault == "weight":
        spoil(clip, "visual.transformer.resblocks.1.attn.in_proj_weight", one_nan)
    else:
        config = json.loads((clip / "open_clip_config.json").read_text())
        config["preprocess_cfg"]["std"] = [0.3, 0, 0.3]
        (clip / "open_clip_config.json").write_text(json.dumps(config))
    data = ["--root", write_voc(tmp_path / "data", 2)]
    words: dict[str, list[object]] = {
        "filter tune": ["filter", "tune", f"clip:{clip}", "--split", "val"],
        "filter score": ["filter", "score", f"clip:{clip}"],
        "run": ["run", "--filter", f"clip:{clip}", "--out", tmp_path / "out"],
        "tune": ["tune", "--reward", f"model={clip}", "--out", tmp_path / "out.json"],
    }
    done = ovss(*words[command], *(data if command != "tune" else []), "--limit", 2)
    expected = "resblocks.1.attn.in_proj_weight holds NaN" if fault == "weight" else "image_std"
    one_error(done, 2, str(clip), expected)
    assert not (tmp_path / "out.json").exists()
