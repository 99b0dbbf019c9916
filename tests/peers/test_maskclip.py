"""MaskCLIP against a second way to write it: attention in which each token sees itself alone."""

from __future__ import annotations

import pytest
import torch

from ovsslib.peers.maskclip import MaskClip, MaskClipConfig
from support.towers import micro, naive, some_pixels, unit_features


@pytest.mark.parametrize("residual", [False, True])
def test_patches_see_nothing_but_themselves(residual: bool) -> None:
    tower = micro()
    pixels = some_pixels(tower)

    def alone(q, k, v):
        scores = torch.full((len(q), len(q)), -torch.inf).fill_diagonal_(0.0)
        return scores.softmax(1) @ v

    expected = naive(tower, pixels, alone, residual=residual, feed=residual)
    found = unit_features(MaskClip(tower, MaskClipConfig(residual=residual)), pixels)
    assert torch.allclose(found, expected, atol=1e-5)
