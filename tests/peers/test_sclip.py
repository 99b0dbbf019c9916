"""SCLIP against the formula, head by head."""

from __future__ import annotations

import torch

from ovsslib.peers.sclip import SClip
from support.towers import micro, naive, some_pixels, unit_features


def test_queries_and_keys_attend_to_their_own_kind() -> None:
    tower = micro()
    pixels = some_pixels(tower)

    def attention(q, k, v):
        root = q.shape[1] ** 0.5
        both = (q @ q.T / root).softmax(1) + (k @ k.T / root).softmax(1)
        assert torch.allclose(both.sum(1), torch.full((len(q),), 2.0))
        return both @ v

    expected = naive(tower, pixels, attention, residual=True, feed=True)
    assert torch.allclose(unit_features(SClip(tower), pixels), expected, atol=1e-5)
