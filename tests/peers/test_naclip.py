"""NACLIP against the formula, patch by patch."""

from __future__ import annotations

import math

import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.peers.naclip import NaClip, NaClipConfig, neighbours
from support.towers import micro, naive, some_pixels, unit_features


@pytest.mark.parametrize("sigma", [5.0, 1.0])
def test_keys_attend_to_like_keys_nearby(sigma: float) -> None:
    tower = micro()
    pixels = some_pixels(tower)
    side = pixels.shape[-1] // 8

    def attention(q, k, v):
        scores = k @ k.T / k.shape[1] ** 0.5
        for i in range(side * side):
            for j in range(side * side):
                square = (i // side - j // side) ** 2 + (i % side - j % side) ** 2
                scores[1 + i, 1 + j] += math.exp(-square / (2 * sigma**2))
        return scores.softmax(1) @ v

    expected = naive(tower, pixels[:1], attention)
    found = unit_features(NaClip(tower, NaClipConfig(sigma=sigma)), pixels[:1])
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_class_token_has_no_neighbours() -> None:
    near = neighbours(3, 2.0)
    assert near.shape == (10, 10)
    assert not near[0].any()
    assert not near[:, 0].any()
    assert (near.diag()[1:] == 1).all()
    with pytest.raises(OvssError, match="sigma"):
        NaClipConfig(sigma=0.0)
