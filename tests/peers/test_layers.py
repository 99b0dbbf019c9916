"""Layers before the last: which they are, their attention, and a path beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.peers.layers import enter_with_attention, middle, same_depth, second_path
from ovsslib.peers.tower import alike
from support.tiny_clip import heads, pattern, tiny


@pytest.mark.parametrize(
    ("published", "layers", "expected"),
    [
        ((7, 8, 10), 12, (7, 8, 10)),
        ((7, 8, 10), 24, (14, 16, 20)),
        ((6, 7, 8, 9), 24, (12, 14, 16, 18)),
        ((6, 7, 8, 9), 4, (2, 3)),
        ((7, 8, 10), 6, (4, 5)),
        ((1, 12), 32, (3, 31)),
        ((1, 12), 2, (1,)),
    ],
)
def test_other_encoders_have_layers_at_the_same_share_of_the_depth(
    published: tuple[int, ...], layers: int, expected: tuple[int, ...]
) -> None:
    assert same_depth(published, layers) == expected
    assert middle(None, published, layers) == expected


def test_layers_that_are_not_before_the_last() -> None:
    assert middle([3, 1], (7, 8, 10), 4) == (3, 1)
    for chosen, layers in (([2, 4], 4), ([5], 4), ([0], 4)):
        with pytest.raises(OvssError, match=f"before the last of {layers}, got"):
            middle(chosen, (7, 8, 10), layers)
    with pytest.raises(OvssError, match="before the last of 1"):
        middle(None, (7, 8, 10), 1)


def test_attention_is_read_and_the_layers_stay(tmp_path: Path) -> None:
    tower, pixels = tiny(tmp_path / "clip", 5), pattern()
    with torch.no_grad():
        tokens, mean = enter_with_attention(tower, pixels, (2, 4), alike)
        assert torch.equal(tokens, tower.enter(pixels))
        for index, image in enumerate(pixels):
            states = tower.model.visual._embeds(image[None])[0]
            total = torch.zeros(2, len(states), len(states))
            for number, block in enumerate(tower.model.visual.transformer.resblocks, start=1):
                if number in (2, 4):
                    for head, (q, k, _) in enumerate(heads(block, states)[1]):
                        total[head] += (q @ k.T / q.shape[1] ** 0.5).softmax(1) / 2
                states = block(states[None])[0]
            assert torch.allclose(mean[index], total, atol=1e-5)


def test_a_path_starts_where_it_says(tmp_path: Path) -> None:
    """Biases are all that it adds where nothing is read, so that the start is known."""
    pixels = pattern()
    for layers, count, first in ((3, None, 2), (5, None, 3), (13, None, 7), (3, 3, 0)):
        tower = tiny(tmp_path / f"clip-{layers}-{count}", layers)
        with torch.no_grad():
            found = second_path(tower, pixels, count, lambda _, qkv: torch.zeros_like(qkv[0]))
            blocks = tower.model.visual.transformer.resblocks
            expected = tower.enter(pixels, first)
            for block in blocks[first:]:
                expected = expected + block.attn.out_proj.bias
        assert torch.allclose(found, expected, atol=1e-5)
    with pytest.raises(OvssError, match="at most 3, got 4"):
        second_path(tower, pixels, 4, lambda _, qkv: qkv[0])
