"""CLIP Surgery against the formulas: head by head, element by element."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.clip_surgery import ClipSurgery, ClipSurgeryConfig, distinct
from support.tiny_clip import naive_second_path, pattern, tiny
from support.towers import micro, some_pixels, unit_features


def values_attend(_inner, _q, _k, v):
    return torch.stack([(v @ token / v.shape[1] ** 0.5).softmax(0) @ v for token in v])


@pytest.mark.parametrize("layers", [None, 1, 12])
def test_values_attend_to_values(tmp_path: Path, layers: int | None) -> None:
    tower, pixels = tiny(tmp_path / "clip"), pattern()
    expected = naive_second_path(tower, pixels, layers or 6, values_attend)
    found = unit_features(ClipSurgery(tower, ClipSurgeryConfig(layers=layers)), pixels)
    assert torch.allclose(found, expected, atol=1e-5)


def some_units(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, 24, generator=generator), dim=-1)


def test_what_names_share_is_taken_away() -> None:
    features, texts = some_units(9, 0), some_units(4, 1)
    expected = torch.zeros(9, 4)
    for p, feature in enumerate(features):
        powers = [math.exp(2 * float(feature @ text)) for text in texts]
        weights = [power / (sum(powers) / len(powers)) for power in powers]
        products = [weight * feature * text for weight, text in zip(weights, texts, strict=True)]
        redundant = sum(products) / len(products)
        for k, product in enumerate(products):
            expected[p, k] = (product - redundant).sum()
    found = distinct(features, texts)
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.sum(1).abs().max() < 1e-5
    assert not torch.allclose(found, features @ texts.T, atol=1e-2)


def test_scores_have_the_shape_of_the_grid() -> None:
    tower = micro()
    features = unit_features(ClipSurgery(tower), some_pixels(tower, 1))[0]
    texts = tower.texts(["bus", "sky", "sea"], [str])
    found = ClipSurgery(tower).scores(features, texts, 14)
    assert torch.equal(found[1, 2, 3], distinct(features, texts)[2 * 14 + 3, 1])
    plain = ClipSurgery(tower, ClipSurgeryConfig(feature_surgery=False))
    cosine = plain.scores(features, texts, 14)[1, 2, 3]
    assert float(cosine) == pytest.approx(float(features[2 * 14 + 3] @ texts[1]), abs=1e-5)
    assert float(cosine) != pytest.approx(float(found[1, 2, 3]), abs=1e-2)


def test_one_name_is_compared_with_none() -> None:
    tower = micro()
    data = some_pixels(tower, 1)
    features = unit_features(ClipSurgery(tower), data)[0]
    named = tower.texts(["a picture of a bus", "a picture of a"], [str])
    found = ClipSurgery(tower).scores(features, named[:1], 14)
    assert torch.allclose(found[0].flatten(), features @ (named[0] - named[1]), atol=1e-5)


def test_by_name() -> None:
    assert ovsslib.load("clip-surgery", layers=3).config.layers == 3
    with pytest.raises(OvssError, match="layers must be int >= 1 or None"):
        ovsslib.load("clip-surgery", layers=0)
