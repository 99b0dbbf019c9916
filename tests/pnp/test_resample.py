"""The blur against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ovsslib.pnp.resample import gaussian, line_filter


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2), (30, 41), (96, 150)])
@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 4.8, 7.5, 40.0])
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
