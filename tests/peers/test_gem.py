"""GEM against the formula, head by head, and against what the authors' package gave."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.peers.gem import Gem, GemConfig
from support.tiny_clip import naive_second_path, pattern, tiny
from support.towers import micro, some_pixels, unit_features

RECORDED = [
    [-0.066406, 0.031487, 0.278064, -0.175588, -0.134092],
    [0.330948, 0.065036, 0.592643, -0.656267, 0.242809],
]
"""By gem_torch 1.0.1 (depth 7) with `tiny`: the first image's patches 0 and 9, five elements each.

The package is no requirement, as it needs OpenCV and others. Under open_clip 3 the attention of the
layers that it leaves as they are needs `batch_first = False`: it gives tokens before images.
"""


def naive(iterations: int):
    """What one head reads, token by token."""

    def mix(inner, *qkv):
        factor = sum(float(token.norm()) for token in inner) / len(inner) / qkv[0].shape[1] ** 0.5
        total = torch.zeros_like(qkv[2])
        for kind in qkv:
            z = torch.stack([token / token.norm() for token in kind])
            for _ in range(iterations):
                z = torch.stack([(factor * z @ token).softmax(0) @ z for token in z])
                z = torch.stack([token / token.norm() for token in z])
            total += torch.stack([(factor * z @ token).softmax(0) @ qkv[2] for token in z])
        return total / 3

    return mix


@pytest.mark.parametrize(("layers", "iterations"), [(6, 1), (2, 0), (3, 3)])
def test_kinds_attend_to_themselves(tmp_path: Path, layers: int, iterations: int) -> None:
    tower, pixels = tiny(tmp_path / "clip"), pattern()
    expected = naive_second_path(tower, pixels, layers, naive(iterations))
    method = Gem(tower, GemConfig(layers=layers, iterations=iterations))
    assert torch.allclose(unit_features(method, pixels), expected, atol=1e-5)


def test_half_of_a_shallow_model_s_layers_have_the_path() -> None:
    tower = micro()
    pixels = some_pixels(tower, 1)
    expected = naive_second_path(tower, pixels, 2, naive(1))
    assert torch.allclose(unit_features(Gem(tower), pixels), expected, atol=1e-5)
    with pytest.raises(OvssError, match="at most 4"):
        Gem(tower, GemConfig(layers=5)).features(pixels)


def test_it_equals_what_the_authors_package_gave(tmp_path: Path) -> None:
    found = unit_features(Gem(tiny(tmp_path / "clip")), pattern())
    assert torch.allclose(found[0, [0, 9], :5], torch.tensor(RECORDED), atol=1e-5)
