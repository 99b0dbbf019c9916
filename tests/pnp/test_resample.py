"""The blur against scipy's, upsampling against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from ovsslib.pnp.resample import gaussian, line_filter, line_weights, shrink, upsample


@pytest.mark.parametrize(
    ("dtype", "size", "sigma"),
    [
        (np.float32, (1, 1), 7.5),
        (np.float64, (1, 9), 0.3),
        (np.float32, (7, 2), 40.0),
        (np.float64, (30, 41), 1.0),
        (np.float32, (30, 41), 4.8),
        (np.float32, (96, 150), 0.05),
    ],
)
def test_equals_scipy(dtype: type, size: tuple[int, int], sigma: float) -> None:
    planes = np.random.default_rng(0).random((2, *size)).astype(dtype)
    before = planes.copy()
    out = gaussian(planes, sigma)
    expected = np.stack([gaussian_filter(plane, sigma) for plane in planes])
    assert out.dtype == expected.dtype == dtype
    # Both sum in float64, in another order: up to 321 terms of relative error 1.1e-16 each, per
    # axis. Rounded to float32, that leaves the last digit at most.
    tolerance = {np.float32: 3e-7, np.float64: 1e-13}[dtype]
    np.testing.assert_allclose(out, expected, rtol=tolerance, atol=0)
    assert (planes == before).all()


def test_no_blur() -> None:
    planes = np.random.default_rng(0).random((2, 3, 4))
    out = gaussian(planes, 0)
    assert (out == planes).all()
    assert not np.shares_memory(out, planes)


def test_each_row_is_a_mean() -> None:
    matrix = line_filter(9, 6.0)
    assert np.allclose(matrix.sum(1), 1, atol=1e-12)
    assert (matrix > 0).all()
    assert np.allclose(matrix, matrix[::-1, ::-1])


maps_strategy = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(0, 100, width=32),
)


@given(maps_strategy, st.integers(1, 40), st.integers(1, 40), st.booleans())
@settings(max_examples=80, deadline=None)
def test_upsample_equals_torch(maps: np.ndarray, height: int, width: int, corners: bool) -> None:
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], size=(height, width), mode="bilinear", align_corners=corners
    )[0].numpy()
    out = upsample(maps, (height, width), align_corners=corners)
    assert out.shape == expected.shape
    assert np.allclose(out, expected, rtol=1e-5, atol=1e-5 * max(1.0, maps.max()))


def test_upsample_zeros_stay_exactly_zero() -> None:
    maps = np.zeros((1, 5, 5), np.float32)
    maps[0, 4, 4] = 1
    out = upsample(maps, (50, 50))
    assert (out[0, :30] == 0).all()
    assert out[0, 49, 49] == 1


@pytest.mark.parametrize("corners", [False, True])
def test_many_cells_as_by_matrices(corners: bool) -> None:
    maps = np.random.default_rng(0).random((2, 90, 70), np.float32)
    down, across = (line_weights(count, 50, corners) for count in maps.shape[1:])
    out = upsample(maps, (50, 50), align_corners=corners)
    assert np.allclose(out, down @ maps @ across.T, atol=1e-6)


def test_the_same_size_is_a_copy() -> None:
    maps = np.random.default_rng(0).random((1, 3, 4), np.float32)
    out = upsample(maps, (3, 4))
    assert (out == maps).all()
    out[0, 0, 0] = 9
    assert maps[0, 0, 0] != 9


def test_shrink() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    assert shrink(image, None) is image
    assert shrink(image, 160) is image
    assert shrink(image, 40).shape == (22, 40, 3)
    assert shrink(image[:1], 30).shape == (1, 30, 3)
