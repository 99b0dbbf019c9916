"""Released files: what is wrong with one is said in one line; nothing is drawn at random."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.pacl import PaclTower
from ovsslib.peers.segclip import SegClipTower
from ovsslib.peers.tcl import TclTower
from support import released
from support.helpers import ovss

TEXT, IMAGE = "clip_text_encoder.", "clip_image_encoder.clip_visual."


def missing(state: released.State) -> None:
    del state["masker.sim2mask.w"]


def no_gate(state: released.State) -> None:
    del state["masker.image_encoder.decoder.decoder.net.0.conv2.gate.gate"]


def missing_in_clip(state: released.State) -> None:
    del state[f"{TEXT}ln_final.bias"]


def no_patches(state: released.State) -> None:
    del state[f"{IMAGE}conv1.weight"]


def left_over(state: released.State) -> None:
    state["masker.teacher"] = torch.ones(3)


def two_layers(state: released.State) -> None:
    last = "masker.image_encoder.backbone.transformer.resblocks."
    state |= {n.replace(f"{last}2.", f"{last}1."): v for n, v in state.items() if last in n}


def whole_numbers(state: released.State) -> None:
    state["masker.sim2mask.w"] = torch.tensor(3)


def other_shape(state: released.State) -> None:
    state["masker.sim2mask.w"] = torch.ones(2)


def not_finite(state: released.State) -> None:
    state["masker.sim2mask.w"] = torch.tensor(float("nan"))


def oblong(state: released.State) -> None:
    state[f"{IMAGE}positional_embedding"] = torch.ones(16, released.WIDTH)


def few_words(state: released.State) -> None:
    name = f"{TEXT}token_embedding.weight"
    state[name] = state[name][:1000]


def narrow(state: released.State) -> None:
    state[f"{TEXT}token_embedding.weight"] = torch.ones(49408, 60)


def other_system(state: released.State) -> None:
    state.clear()
    state |= released.segclip_state()


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (missing, r"lacks 1 weights of TCL \(weight"),
        (no_gate, r"lacks 1 weights of TCL \(ups.0.gates"),
        (missing_in_clip, r"lacks 1 weights of its CLIP \(ln_final.bias"),
        (no_patches, r"visual.conv1.weight is missing"),
        (left_over, r"holds 1 weights that TCL lacks \(masker.teacher"),
        (two_layers, "one layer more than TCL has"),
        (whole_numbers, "masker.sim2mask.w has the type torch.int64"),
        (other_shape, r"weight has the shape \(2,\)"),
        (not_finite, "NaN"),
        (oblong, "15 patches, which is no square"),
        (few_words, "1000 entries where CLIP's has 49408"),
        (narrow, "do not divide the widths 128, 60"),
        (other_system, r"weights that TCL lacks \(clip"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, spoil: Callable[[released.State], None], hint: str
) -> None:
    state, path = released.tcl_state(), tmp_path / "tcl.pth"
    spoil(state)
    torch.save({"model": state}, path)
    fails(path, hint)


def fails(path: Path, hint: str) -> None:
    with pytest.raises(OvssError, match=hint) as caught:
        TclTower(str(path), "cpu")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "tcl.pth"
    fails(path, "no such file")
    torch.save({"model": {"masker.sim2mask.w": torch.ones(9999)}}, path)
    path.write_bytes(path.read_bytes()[:5000])
    fails(path, r"no checkpoint of TCL: .*; give tcl.pth, as its authors released it")
    torch.save({"model": [1, 2]}, path)
    fails(path, "holds a list, not named tensors")
    # The authors' training keeps its settings beside the weights, as objects of a library.
    torch.save({"model": {"a": torch.ones(1)}, "config": argparse.Namespace(a=1)}, path)
    fails(path, r"more than tensors \(argparse.Namespace\).*save its tensors alone")


def test_a_clip_that_is_not_here(tmp_path: Path) -> None:
    path = tmp_path / "tcl.pth"
    torch.save(released.tcl_state(clip=False), path)
    fails(path, "holds no CLIP, and CLIP model 'ViT-B-16-quickgelu:openai' is not on this machine")


def test_without_layers_on_regions(tmp_path: Path) -> None:
    path = tmp_path / "segclip.bin"
    torch.save(released.segclip_state(after=0), path)
    with pytest.raises(OvssError, match=r"no checkpoint of SegCLIP: it has no layers on regions"):
        SegClipTower(str(path), "cpu")


def test_systems_without_released_files(tmp_path: Path) -> None:
    path = tmp_path / "pacl.pth"
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(OvssError, match="is a file; give a folder that `ovss train micro-pacl`"):
        PaclTower(str(path), "cpu")


def test_half_precision_and_other_sides(tmp_path: Path) -> None:
    path = tmp_path / "segclip.bin"
    torch.save({name: value.half() for name, value in released.segclip_state().items()}, path)
    method = ovsslib.load("segclip", vlm=path, device="cpu", dtype="bfloat16", image_size=48)
    assert method.matcher.head.centres.dtype == torch.float32
    assert method.segment(released.picture(), ["sky", "car"]).planes.shape == (2, 32, 32)


def test_a_run_with_a_released_file(tmp_path: Path) -> None:
    path = tmp_path / "tcl.pth"
    torch.save({"model": released.tcl_state()}, path)
    words = ["run", "--method", "tcl", "--vlm", path, "--filter", "all", "--limit", 1]
    done = ovss(*words, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "tcl" in next((tmp_path / "out").iterdir()).name
