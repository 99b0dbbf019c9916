"""Pixels of patches that were not seen: which they are, and their error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovsslib.trained.pixels import PixelDecoder, kept_patches, patches_of


def test_patches_row_by_row() -> None:
    pixels = torch.arange(3 * 4 * 4).view(1, 3, 4, 4)
    found = patches_of(pixels, 2)
    assert found.shape == (1, 4, 12)
    assert found[0, 1].tolist() == [2, 3, 6, 7, 18, 19, 22, 23, 34, 35, 38, 39]


def test_each_image_keeps_patches_of_its_own() -> None:
    kept = kept_patches(50, 16, 0.4, np.random.default_rng(0))
    assert kept.shape == (50, 6)
    assert all(len(set(row.tolist())) == 6 for row in kept)
    assert len({tuple(sorted(row.tolist())) for row in kept}) > 40
    assert set(kept.flatten().tolist()) == set(range(16))


def test_the_error_is_of_what_was_not_seen() -> None:
    decoder = PixelDecoder(8, 16, 8)
    pixels, tokens = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 8)
    kept = torch.tensor([[0, 3, 7], [1, 2, 15]])
    with torch.no_grad():
        found = float(decoder.loss(tokens, kept, pixels))
        rebuilt = decoder(tokens, kept)
    errors = []
    for b in range(2):
        for p in set(range(16)) - set(kept[b].tolist()):
            y, x = divmod(p, 4)
            truth = pixels[b, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].flatten()
            errors.append(float((rebuilt[b, p] - truth).square().mean()))
    assert len(errors) == 26
    assert found == pytest.approx(np.mean(errors), abs=1e-5)


def test_a_token_stands_in_its_own_place() -> None:
    decoder = PixelDecoder(8, 16, 8)
    tokens = torch.randn(1, 2, 8)
    with torch.no_grad():
        one = decoder(tokens, torch.tensor([[4, 9]]))
        turned = decoder(tokens.flip(1), torch.tensor([[9, 4]]))
        moved = decoder(tokens, torch.tensor([[4, 10]]))
    assert torch.allclose(one, turned, atol=1e-6)
    assert not torch.allclose(one, moved, atol=1e-3)
