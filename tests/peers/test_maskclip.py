"""MaskCLIP against a second way to write it: attention in which each token sees itself alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import ovsslib
from ovsslib.cli.main import app
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.peers.maskclip import Clip, MaskClip, MaskClipConfig
from support.helpers import one_error

DATA = load_dataset("diorama", None, "tune")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip("micro-clip", "cpu")


@pytest.mark.parametrize("residual", [False, True])
def test_patches_see_nothing_but_themselves(clip: Clip, residual: bool) -> None:
    pixels = clip.prepare([DATA.image(name) for name in DATA.ids[:2]])
    vision = clip.model.visual
    with torch.no_grad():
        tokens = vision._embeds(pixels)
        *early, last = vision.transformer.resblocks
        for block in early:
            tokens = block(tokens)
        alone = torch.full((tokens.shape[1],) * 2, -torch.inf).fill_diagonal_(0.0)
        if residual:
            read = last(tokens, attn_mask=alone)
        else:
            inner = last.ln_1(tokens)
            read = last.attn(inner, inner, inner, need_weights=False, attn_mask=alone)[0]
        features = vision.ln_post(read)[:, 1:] @ vision.proj
    naive = features / features.norm(dim=-1, keepdim=True)
    found = MaskClip(clip, MaskClipConfig(residual=residual)).patches(pixels)
    assert torch.allclose(found, naive, atol=1e-5)


def test_segments_as_any_method_does() -> None:
    model = ovsslib.load("maskclip", device="cpu")
    images = [DATA.image(DATA.ids[0]), Image.new("L", (40, 9), 90), DATA.image(DATA.ids[1])]
    classes = [["sky", "grass"], ["sky"], []]
    first, grey, none = model.segment_batch(images, classes)
    assert first.labels.shape == (images[0].height, images[0].width)
    assert first.planes.shape == (2, *first.labels.shape)
    assert set(np.unique(first.labels)) <= {0, 1}
    assert (first.labels == first.planes.argmax(0)).all()
    assert (grey.labels == 0).all()
    assert (none.labels == -1).all()
    assert model.segment(images[0], classes[0]).planes == pytest.approx(first.planes, abs=1e-5)
    assert model.segment_batch([], []) == []


def test_command(tmp_path: Path) -> None:
    words = ["run", "--method", "maskclip", "--vlm", "micro-clip", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--filter", "all", "--limit", "3"])
    assert done.exit_code == 0, done.output
    assert "maskclip with micro-clip on diorama val (3 of 3 images" in done.stdout
    assert len(list(tmp_path.glob("maskclip_micro-clip_*.json"))) == 1
    one_error(CliRunner().invoke(app, [*words, "--set", "mlp=true"]), 2, "unknown setting 'mlp'")


def test_what_it_refuses() -> None:
    with pytest.raises(OvssError, match="no presets and computes in float32"):
        ovsslib.load("maskclip", preset="micro-blip")
    with pytest.raises(OvssError, match="CLIP model 'micro-blip' is not on this machine"):
        ovsslib.load("maskclip", vlm="micro-blip")
    with pytest.raises(OvssError, match="residual"):
        ovsslib.load("maskclip", residual="yes")
