"""Means and slopes over draws, against loops and against simulations."""

from __future__ import annotations

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.metrics.draws import over_draws, slope, slope_interval
from ovsslib.metrics.iou import over_images

AMOUNTS = np.array([0.25, 0.5, 1.0])


def test_students_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        found = over_draws(rng.normal(0.3, 0.1, 5))
        inside += found.low <= 0.3 <= found.high
    assert 925 <= inside <= 970


def test_a_single_draw_has_no_interval() -> None:
    found = over_draws(np.array([0.5]))
    assert found.value == 0.5
    assert np.isnan([found.low, found.high]).all()
    alike = over_draws(np.array([0.5, 0.5]))
    assert (alike.low, alike.high) == (0.5, 0.5)


def test_slope_is_that_of_numpy_s_least_squares() -> None:
    rng = np.random.default_rng(1)
    values, base = rng.random((3, 4)), rng.random(4)
    found = slope(AMOUNTS, values, base)
    for k in range(4):
        (expected,), *_ = np.linalg.lstsq(AMOUNTS[:, None], values[:, k] - base[k])
        assert found[k] == pytest.approx(expected)


def test_slope_interval_by_loops() -> None:
    rng = np.random.default_rng(2)
    drawn, drawn_base = rng.random((3, 4, 50)), rng.random(50)
    values, base = rng.random((3, 4)), 0.5
    found = slope_interval(AMOUNTS, values, base, drawn, drawn_base, seed=7)
    picked = np.random.default_rng(7).integers(4, size=(50, 4))
    slopes = []
    for r in range(50):
        change = [np.mean([drawn[a, d, r] for d in picked[r]]) - drawn_base[r] for a in range(3)]
        top = sum(amount * one for amount, one in zip(AMOUNTS, change, strict=True))
        slopes.append(top / sum(amount**2 for amount in AMOUNTS))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(slopes, [2.5, 97.5])))
    assert found.value == pytest.approx(float(slope(AMOUNTS, values.mean(1), np.array(base))))


def test_draws_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    images = rng.normal(0, 0.01, (1, 1, 400))
    alike = 0.5 + np.zeros((3, 5, 1)) + images
    apart = alike + np.linspace(-0.2, 0.2, 5)[None, :, None]
    base = 0.5 + images[0, 0]
    widths = []
    for drawn in (alike, apart):
        found = slope_interval(AMOUNTS, drawn.mean(-1), 0.5, drawn, base)
        widths.append(found.high - found.low)
    # Images move base and figures alike: the difference does not see them.
    assert widths[0] == pytest.approx(0, abs=1e-9)
    assert widths[1] > 0.1


def test_percentiles_leave_out_what_is_undefined() -> None:
    drawn = np.append(np.linspace(0, 1, 101), np.nan)
    found = over_images(0.5, drawn)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))
    assert np.isnan(over_images(0.5, np.array([np.nan])).low)


def test_amounts_are_above_zero() -> None:
    for amounts in ([], [0.0, 1.0], [-1.0]):
        with pytest.raises(OvssError, match="a slope needs amounts above 0"):
            slope(np.array(amounts), np.zeros(len(amounts)), np.array(0.0))
