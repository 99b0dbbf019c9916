"""CLIP as it is."""

from __future__ import annotations

import torch

from ovsslib.peers.raw_clip import RawClip
from support.towers import micro, naive, some_pixels, unit_features


def test_the_last_layer_is_the_model_s_own() -> None:
    tower = micro()
    pixels = some_pixels(tower)

    def attention(q, k, v):
        return (q @ k.T / q.shape[1] ** 0.5).softmax(1) @ v

    expected = naive(tower, pixels, attention, residual=True, feed=True)
    assert torch.allclose(unit_features(RawClip(tower), pixels), expected, atol=1e-5)
