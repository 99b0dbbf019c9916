"""Folders of trained systems: read back, and refused where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.head import HeadTower, save_head
from ovsslib.peers.tcl import TclHead, TclTower
from support.heads import TOWERS, make_head
from support.tiny_clip import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A TCL at the start on a small CLIP."""
    tower = tiny(tmp_path / "clip", layers=2)
    out = tmp_path / "micro-tcl"
    save_head(out, "tcl", (str(tmp_path / "clip"), tower.model), TclHead(tower.model, 1), ups=1)
    return out


def test_the_clip_and_the_head_are_read(folder: Path) -> None:
    tower = TclTower(str(folder), "cpu")
    assert (tower.name, tower.clip) == ("micro-tcl", "clip")
    assert tower.layers == 2
    assert not any(weight.requires_grad for weight in tower.head.parameters())
    copied = tower.head.layers[0].attn.in_proj_weight
    last = tower.model.visual.transformer.resblocks[-1]
    assert torch.allclose(copied, last.attn.in_proj_weight, atol=1e-3)


def other_system(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"system": "pacl"}))


def other_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sizes": {"ups": 2}}))


def cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def no_clip(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"clip": "micro-clap"}))


def other_clip(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"clip": "micro-clip"}))


def no_sizes(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"system": "tcl", "clip": "micro-clip"}))


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (other_system, "is of the system 'pacl'; give a folder that `ovss train micro-tcl` wrote"),
        (other_size, "cannot be read"),
        (cut, "cannot load the model"),
        (no_clip, "micro-clap"),
        (other_clip, "trained on another micro-clip"),
        (no_sizes, "lacks 'sizes'"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, spoil: Callable[[Path], None], hint: str) -> None:
    spoil(folder)
    with pytest.raises(OvssError, match=hint):
        TclTower(str(folder), "cpu")


def test_a_missing_one_can_be_trained() -> None:
    with pytest.raises(OvssError, match=r"no model 'micro-tkl'.*ovss train micro-tcl"):
        TclTower("micro-tkl", "cpu")


@pytest.mark.parametrize("tower", TOWERS, ids=lambda each: each.system)
def test_half_precision_and_other_sizes(tower: type[HeadTower], tmp_path: Path) -> None:
    """The encoder may compute in bfloat16, and images may have another side than in training."""
    name = str(make_head(tower)(tmp_path / "model"))
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    exact, half = (
        ovsslib.load(tower.system, vlm=name, device="cpu", dtype=dtype).segment(picture, ["a", "b"])
        for dtype in (None, "bfloat16")
    )
    assert np.abs(exact.planes - half.planes).max() < 0.1 * max(1, np.abs(exact.planes).max())
    other = ovsslib.load(tower.system, vlm=name, device="cpu", image_size=64)
    assert np.isfinite(other.segment(picture, ["a", "b"]).planes).all()
