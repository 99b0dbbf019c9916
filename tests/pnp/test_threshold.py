"""Clearing weak salience, and when a background competes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ovsslib.pnp.threshold import min_max, needs_background, threshold

maps_strategy = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(0, 100, width=32),
)


@given(maps_strategy)
def test_min_max_reaches_both_ends(maps: np.ndarray) -> None:
    out = min_max(maps)
    for before, after in zip(maps, out, strict=True):
        if before.max() > before.min():
            assert after.min() == 0
            assert after.max() == pytest.approx(1)
        else:
            assert (after == 0).all()


@given(maps_strategy, st.floats(0, 1))
def test_threshold_keeps_raw_values(maps: np.ndarray, level: float) -> None:
    before = maps.copy()
    out = threshold(maps, level)
    assert (maps == before).all()
    assert ((out == 0) | (out == maps)).all()
    assert (out[min_max(maps) >= level] == maps[min_max(maps) >= level]).all()


@pytest.mark.parametrize(
    ("classes", "rule", "expected"),
    [
        (1, "few", True),
        (2, "few", True),
        (3, "few", False),
        (9, "always", True),
        (1, "never", False),
    ],
)
def test_background_rule(classes: int, rule: str, expected: bool) -> None:
    assert needs_background(classes, rule) is expected
