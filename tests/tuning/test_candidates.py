"""Masks from stored maps against those of the refinement."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.presets import preset
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.result import Maps
from ovsslib.tuning.candidates import Candidate, masks_of

BASE = PnPConfig(max_side=None)
THRESHOLDS, BLURS = (0.0, 0.05, 0.15, 0.45, 1.0), (0.0, 0.01, 0.05, 0.11, 0.4)


def some_maps(classes: int, grid: int = 7, seed: int = 0) -> np.ndarray:
    """Smooth maps with zeros, of different strength."""
    rng = np.random.default_rng(seed)
    maps = np.maximum(rng.normal(size=(classes, grid, grid)), 0) ** 2
    return (maps * 10.0 ** rng.uniform(-4, 0, (classes, 1, 1))).astype(np.float32)


def refined(maps: np.ndarray, one: Candidate, size: int, config: PnPConfig) -> Any:
    names = tuple(f"class {number}" for number in range(len(maps)))
    image = np.zeros((size, size, 3), np.uint8)
    return refine_maps(Maps(maps, names, 0.5, image, {}), one.config(config))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"background": "never"},
        {"background": "few", "align_corners": True},
        {"normalise": False},
        {"constant_planes": "nan"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("size", "classes"), [(24, 1), (97, 2), (24, 5)])
def test_equals_refinement(size: int, classes: int, fields: dict[str, Any]) -> None:
    config = BASE.replace(**fields)
    pairs = list(itertools.product(THRESHOLDS, BLURS))
    candidates = [Candidate(1, 1, level, blur) for level, blur in pairs]
    differ = 0.0
    for seed in range(3):
        maps = some_maps(classes, seed=seed)
        if seed == 2:
            maps[0] = 0  # no contrast
        before = maps.copy()
        hard = masks_of(maps, candidates, size, config.background, config)
        soft = masks_of(maps, candidates, size, config.background, config, hard=False)
        np.testing.assert_array_equal(maps, before)
        assert hard.shape == soft.shape == (len(pairs), classes, size, size)
        assert hard.dtype == soft.dtype == torch.float32
        for one, mask, plane in zip(candidates, hard.numpy(), soft.numpy(), strict=True):
            wanted = refined(maps, one, size, config)
            expected = wanted.labels == np.arange(classes)[:, None, None]
            other = (mask != expected).any(0)
            # Labels may differ only where rounding decides between two planes.
            assert wanted.stages is not None
            planes = wanted.stages["blurred" if one.blur or config.normalise else "planes"]
            second, first = np.sort(np.concatenate([planes, 0 * planes[:1] - 1]), axis=0)[-2:]
            assert (first - second)[other].max(initial=0) < 1e-5, one
            # Single patches, or no blur at all, make ties by symmetry.
            differ += other.mean() / len(candidates) / 3 if one.threshold < 1 and one.blur else 0
            np.testing.assert_allclose(plane, wanted.planes, atol=2e-5, rtol=1e-4)
    assert differ < 1e-3


def test_one_is_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = some_maps(3)
    candidates = [Candidate(1, 1, *pair) for pair in itertools.product(THRESHOLDS, BLURS)]
    # In any order, and repeated.
    candidates = [candidates[i] for i in np.random.default_rng(1).permutation(25)] + candidates[:2]
    many = masks_of(maps, candidates, 48, "always", BASE)
    for one, found in zip(candidates, many, strict=True):
        torch.testing.assert_close(
            masks_of(maps, [one], 48, "always", BASE)[0], found, rtol=0, atol=0
        )
    assert len({found.numpy().tobytes() for found in many}) > 15


def test_hard_masks_do_not_overlap() -> None:
    (found,) = masks_of(some_maps(4), [Candidate(1, 1, 0.15, 0.05)], 40, "never", BASE)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert (found.sum(0) <= 1).all()
    assert masks_of(np.zeros((0, 7, 7)), [Candidate(1, 1, 0.1, 0.1)], 8, "always", BASE).shape == (
        1,
        0,
        8,
        8,
    )
    assert masks_of(some_maps(2), [], 8, "always", BASE).shape == (0, 2, 8, 8)


def test_a_candidate_is_a_configuration() -> None:
    found = Candidate(3, None, 0.25, 0.07).config(preset("blip", background="few"))
    changed = {"layer": 3, "head": None, "threshold": 0.25, "blur": 0.07, "rounds": 1, "crf": False}
    assert found == preset("blip", background="few", **changed)
    with pytest.raises(OvssError, match="threshold"):
        Candidate(3, None, 1.25, 0.07).config(BASE)
