"""ClearCLIP against the formula, head by head."""

from __future__ import annotations

import torch

from ovsslib.peers.clearclip import ClearClip
from support.towers import micro, naive, some_pixels, unit_features


def test_queries_attend_to_queries_and_nothing_is_added() -> None:
    tower = micro()
    pixels = some_pixels(tower)

    def attention(q, k, v):
        return (q @ q.T / q.shape[1] ** 0.5).softmax(1) @ v

    expected = naive(tower, pixels, attention)
    assert torch.allclose(unit_features(ClearClip(tower), pixels), expected, atol=1e-5)
