"""A frozen CLIP: what it gives is what the CLIP gives, and nothing of it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.miniature.training.negatives import Caption
from ovsslib.trained.frozen import Frozen, FrozenPlan
from support.tiny_clip import pattern, tiny


def test_features_are_the_clips(tmp_path: Path) -> None:
    tower = tiny(tmp_path / "clip", layers=2)
    frozen = Frozen(str(tmp_path / "clip"))
    pixels = pattern()
    expected = tower.model.encode_image(pixels, normalize=True)
    assert torch.allclose(frozen.images(pixels), expected, atol=1e-6)
    tokens = frozen.entering(pixels)
    assert torch.allclose(tokens, tower.enter(pixels), atol=1e-5)
    assert not tokens.requires_grad
    texts = ["a red car", "grass and a boat"]
    rows = tower.model.encode_text(frozen.words(texts), normalize=True)
    assert torch.allclose(frozen.sentences(texts), rows, atol=1e-6)
    captions = [Caption(text) for text in texts]
    assert torch.allclose(frozen.captions(captions), rows, atol=1e-6)


def test_gradients_reach_the_pixels_and_no_weight(tmp_path: Path) -> None:
    tiny(tmp_path / "clip", layers=2)
    frozen = Frozen(str(tmp_path / "clip"))
    pixels = pattern().requires_grad_()
    frozen.images(pixels).square()[:, 0].sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in frozen.tower.model.parameters())


def test_its_architecture_is_the_clips(tmp_path: Path) -> None:
    tiny(tmp_path / "clip", layers=1, side=48)
    assert FrozenPlan(clip=str(tmp_path / "clip")).size().side == 48
    with pytest.raises(OvssError, match="width"):
        FrozenPlan(clip=str(tmp_path / "clip")).size(width=64)
