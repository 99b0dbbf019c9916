"""PACL: the embedder by hand, and what a text picks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from ovsslib.peers.head import save_head
from ovsslib.peers.pacl import Pacl, PaclHead, PaclTower, compatibility, leaving
from ovsslib.peers.raw_clip import RawClip
from support.tiny_clip import pattern, tiny


@pytest.mark.parametrize("tau", [1.0, 10.0])
def test_what_a_text_picks(tau: float) -> None:
    patches = normalize(torch.randn(2, 5, 4), dim=-1)
    texts = normalize(torch.randn(3, 4), dim=-1)
    found = compatibility(patches, texts, tau)
    for b in range(2):
        for t in range(3):
            weights = [math.exp(tau * float(patches[b, p] @ texts[t])) for p in range(5)]
            picked = sum(w / sum(weights) * row for w, row in zip(weights, patches[b], strict=True))
            expected = float(picked @ texts[t] / picked.norm())
            assert float(found[b, t]) == pytest.approx(expected, abs=1e-5)


def test_before_training_it_is_the_clips_own_projection(tmp_path: Path) -> None:
    tower = tiny(tmp_path / "clip", layers=2)
    pixels = pattern()
    with torch.no_grad():
        found = PaclHead(tower.model)(leaving(tower, pixels))
        plain = normalize(RawClip(tower).features(pixels), dim=-1)
    assert torch.allclose(found, plain, atol=1e-5)


def test_features_by_hand(tmp_path: Path) -> None:
    clip = tiny(tmp_path / "clip", layers=2)
    head = PaclHead(clip.model)
    with torch.no_grad():
        for weight in head.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    save_head(tmp_path / "pacl", "pacl", (str(tmp_path / "clip"), clip.model), head)
    tower = PaclTower(str(tmp_path / "pacl"), "cpu")
    pixels = pattern()
    with torch.no_grad():
        found = Pacl(tower).features(pixels)
        rows = leaving(tower, pixels)[:, 1:]
        kept = tower.head
        for b in range(2):
            for p in range(16):
                row = rows[b, p]
                inner = kept.inner.weight @ row + kept.inner.bias
                inner = torch.tensor([max(0.0, value) for value in inner.tolist()])
                out = kept.outer.weight @ inner + kept.outer.bias
                out = out + kept.linear.weight @ row + kept.linear.bias
                assert torch.allclose(found[b, p], out / out.norm(), atol=1e-5)
