"""TCL: it starts as MaskCLIP, and its scores by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, normalize

import ovsslib
from ovsslib.peers.head import save_head
from ovsslib.peers.maskclip import MaskClip, MaskClipConfig
from ovsslib.peers.tcl import GatedUp, Tcl, TclConfig, TclHead, TclTower
from ovsslib.pnp.resample import upsample
from support import released
from support.tiny_clip import pattern, tiny

GATE = "masker.image_encoder.decoder.decoder.net.1.conv.gate.gate"


def make(folder: Path, ups: int = 1, gate: float = 0.0) -> TclTower:
    tower = tiny(folder / "clip", layers=2)
    head = TclHead(tower.model, ups)
    head.calibrate(4.0, 0.2)
    with torch.no_grad():
        head.weight.add_(1.0)
        for up in head.ups:
            up.gates.fill_(gate)
    save_head(folder / "tcl", "tcl", (str(folder / "clip"), tower.model), head, ups=ups)
    return TclTower(str(folder / "tcl"), "cpu")


def test_before_training_it_is_maskclip_enlarged(tmp_path: Path) -> None:
    tower = make(tmp_path, ups=2)
    pixels = pattern()
    with torch.no_grad():
        dense = normalize(tower.head(tower.enter(pixels)), dim=1)
        plain = normalize(MaskClip(tower, MaskClipConfig(residual=True)).features(pixels), dim=-1)
    for y in range(16):
        for x in range(16):
            assert torch.allclose(dense[..., y, x], plain[:, y // 4 * 4 + x // 4], atol=2e-3)


def test_a_gated_convolution_by_hand() -> None:
    up = GatedUp(3)
    with torch.no_grad():
        up.gates.copy_(torch.tensor([0.5, 0.0]))
        plane = torch.randn(1, 3, 2, 2)
        found = up(plane)[0]
        large = plane[0].repeat_interleave(2, 1).repeat_interleave(2, 2)
        normed = torch.zeros(3, 6, 6)
        for y in range(4):
            for x in range(4):
                values = large[:, y, x]
                spread = (values.var(unbiased=False) + 1e-5).sqrt()
                normed[:, y + 1, x + 1] = torch.nn.functional.gelu(
                    (values - values.mean()) / spread
                )
        kernel, bias = up.convolutions[0].weight, up.convolutions[0].bias
        for y in range(4):
            for x in range(4):
                window = normed[:, y : y + 3, x : x + 3]
                added = torch.stack([(kernel[c] * window).sum() + bias[c] for c in range(3)])
                expected = large[:, y, x] + torch.tanh(torch.tensor(0.5)) * added
                assert torch.allclose(found[:, y, x], expected, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_scores_by_hand(tmp_path: Path, share: float) -> None:
    tower = make(tmp_path, gate=0.3)
    pixels = pattern()
    texts = [normalize(torch.randn(count, 12), dim=-1) for count in (3, 1)]
    with torch.no_grad():
        found = Tcl(tower, TclConfig(preserved=share)).planes(pixels, texts)
        dense = normalize(tower.head(tower.enter(pixels)), dim=1)
        plain = normalize(MaskClip(tower, MaskClipConfig(residual=True)).features(pixels), dim=-1)
        for own, frozen, named, planes in zip(dense, plain, texts, found, strict=True):
            grid = (4.0 * (named @ frozen.T - 0.2)).sigmoid().unflatten(1, (4, 4))
            grid = interpolate(grid[None], (8, 8), mode="bilinear")[0]
            for k in range(len(named)):
                for y in range(8):
                    for x in range(8):
                        mask = (5.0 * (named[k] @ own[:, y, x]) - 0.8).sigmoid()
                        expected = (1 - share) * mask + share * grid[k, y, x]
                        assert float(planes[k, y, x]) == pytest.approx(float(expected), abs=2e-3)


def test_pamr_agrees_within_a_colour(tmp_path: Path) -> None:
    tower = make(tmp_path, gate=0.3)
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[..., 16:] = 1.0
    texts = [normalize(torch.randn(2, 12), dim=-1)]
    with torch.no_grad():
        rough, smooth = (
            Tcl(tower, TclConfig(mask_pamr=count, preserved=0.0)).planes(pixels, texts)[0]
            for count in (0, 10)
        )
    assert smooth[..., :3].std() < 0.8 * rough[..., :3].std()


def test_the_authors_file_by_hand(tmp_path: Path) -> None:
    """Images and texts to scores, from the authors' names alone."""
    state, path = released.tcl_state(), tmp_path / "tcl.pth"
    more = {"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "scaler": {}, "step": 9}
    torch.save({"model": state, **more}, path)
    names = ["house", "traffic light", "sky"]
    method = ovsslib.load("tcl", vlm=path, device="cpu")
    assert method.matcher.name == "tcl"
    found = method.segment(released.picture(), names).planes
    with torch.no_grad():
        texts = released.clip_texts(
            state, "clip_text_encoder.", [f"a photo of a {n}" for n in names]
        )
        pixels = released.pixels_of(released.picture(), released.IMAGENET)
        expected = released.tcl_planes(state, pixels, texts)
    assert expected.std(dim=(1, 2)).min() > 0.01
    assert np.allclose(found, upsample(expected.numpy(), (32, 32)), atol=1e-4)


def test_the_authors_file_may_hold_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny(tmp_path / "clip", layers=2)
    monkeypatch.setattr("ovsslib.peers.released.OPENAI", str(tmp_path / "clip"))
    state, path = released.tcl_state(2, clip=False, width=16), tmp_path / "tcl.pth"
    torch.save(state, path)
    tower = TclTower(str(path), "cpu")
    assert tower.parts.mean == released.IMAGENET[0]
    assert torch.equal(tower.head.ups[1].gates[0], state[GATE])
    assert torch.equal(tower.head.slope, torch.tensor(10.0))
