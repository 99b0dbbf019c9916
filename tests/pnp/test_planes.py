"""Upsampling, background, blur and normalisation in one, against the steps one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.planes import planes_of
from ovsslib.pnp.refine import add_background, blur
from ovsslib.pnp.resample import upsample
from ovsslib.pnp.threshold import threshold

CONFIG = PnPConfig()


def some(classes: int, grid: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Thresholded maps of different strength; the second is constant."""
    rng = np.random.default_rng(seed)
    maps = threshold((rng.random((classes, *grid)) ** 4).astype(np.float32), 0.15)
    maps *= np.float32(10.0) ** np.arange(classes, dtype=np.float32)[:, None, None]
    maps[1:2] = 0.25
    return maps


def wanted(maps: np.ndarray, size: tuple[int, int], sigma: float, config: PnPConfig) -> np.ndarray:
    """The steps of `refine_maps`."""
    planes = upsample(maps, size, align_corners=config.align_corners)
    if config.background == "always":
        planes = add_background(planes)
    if sigma or config.normalise:
        planes = blur(planes, sigma, config.constant_planes)
    return planes


@pytest.mark.parametrize(
    "fields",
    [{}, {"background": "never"}, {"align_corners": True}, {"constant_planes": "nan"}],
    ids=str,
)
@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.4])
def test_equals_the_steps_one_by_one(fields: dict[str, Any], sigma: float) -> None:
    config = CONFIG.replace(**fields)
    grids, sizes = [(6, 6), (7, 4)], [(30, 41), (41, 30), (1, 9)]
    for classes, grid, size in itertools.product((1, 2, 5), grids, sizes):
        maps = some(classes, grid)
        before = maps.copy()
        background = config.background == "always"
        given = torch.from_numpy(maps)[None]
        (found,) = planes_of(given, size, sigma, config, background=background)
        np.testing.assert_array_equal(maps, before)
        expected = wanted(maps, size, sigma, config)
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)
        # Which pixels are exactly 0 decides what is background.
        if not sigma:
            assert np.array_equal(found.numpy() == 0, expected == 0)


def test_without_normalisation_strength_is_kept() -> None:
    config = CONFIG.replace(normalise=False)
    maps = some(3, (6, 6))
    (found,) = planes_of(torch.from_numpy(maps)[None], (20, 30), 0.0, config, background=False)
    np.testing.assert_allclose(found.numpy(), upsample(maps, (20, 30)), rtol=1e-5, atol=1e-6)
    assert found.max() > 10


def test_maps_of_a_batch_have_their_own_range() -> None:
    maps = torch.from_numpy(np.stack([some(3, (6, 6), 0), 5 * some(3, (6, 6), 1)]))
    both = planes_of(maps, (20, 30), 0.05, CONFIG, background=True)
    for one, found in zip(maps, both, strict=True):
        alone = planes_of(one[None], (20, 30), 0.05, CONFIG, background=True)[0]
        assert torch.allclose(found, alone, atol=1e-6)
        assert found.amax((1, 2))[[1, 3]].tolist() == [1, 1]


def test_peaks_in_one_place_tie() -> None:
    """However strong the classes are: the first one then gets the pixel."""
    maps = torch.zeros(1, 3, 6, 6)
    maps[0, :, 2, 3] = torch.tensor([0.3, 7.7, 0.011])
    (found,) = planes_of(maps, (31, 47), 0.05, CONFIG, background=False)
    assert (found.flatten(1).argmax(1) == found[0].argmax()).all()
    assert found.amax((1, 2)).tolist() == [1, 1, 1]
    assert not found.argmax(0).any()
