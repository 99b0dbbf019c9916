"""Threshold, upsampling, background, blur, CRF, labels."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.refine import (
    add_background,
    blur,
    decide,
    dense_crf,
    min_max,
    needs_background,
    peak_scores,
    relabel,
    softmax,
    threshold,
    upsample,
)
from ovsslib.pnp.result import Maps

maps_strategy = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(0, 100, width=32),
)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth image; noise would fill the CRF's lattice as no photograph does."""
    rows = np.linspace(0, 6, height)[:, None, None]
    columns = np.linspace(0, 9, width)[None, :, None]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    return (127 + 120 * np.sin(rows + phase) * np.cos(columns + phase)).astype(np.uint8)


def make_maps(count: int, size: tuple[int, int], seed: int = 0, *, stages: bool = False) -> Maps:
    maps = np.random.default_rng(seed).random((count, 6, 6)).astype(np.float32) ** 4
    names = tuple(f"class {index}" for index in range(count))
    return Maps(maps, names, 0.5, picture(*size), {} if stages else None)


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


def test_background_plane_is_where_nothing_is() -> None:
    planes = np.float32([[[0, 0.1]], [[0, 0]]])
    assert add_background(planes)[0].tolist() == [[1, 0]]


def test_blur_normalises_each_plane() -> None:
    planes = np.zeros((2, 20, 30), np.float32)
    planes[0, 10, 15] = 5
    planes[1, 3, 4] = 0.01
    before = planes.copy()
    out = blur(planes, 0.05)
    assert (planes == before).all()
    assert out.min(axis=(1, 2)).tolist() == [0, 0]
    assert out.max(axis=(1, 2)).tolist() == [1, 1]
    # Standard deviation 0.05 * 30 = 1.5 pixels: the kernel at that distance is exp(-1/2).
    assert out[0, 10, 15 + 3] == pytest.approx(np.exp(-2), abs=0.01)


@pytest.mark.parametrize(("value", "kept"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0), (7.0, 1.0)])
def test_constant_planes(value: float, kept: float) -> None:
    planes = np.full((1, 8, 9), value, np.float32)
    assert (blur(planes, 0.1) == np.float32(kept)).all()
    assert np.isnan(blur(planes, 0.1, "nan")).all()


@given(hnp.arrays(np.float32, (3, 2, 2), elements=st.floats(-50, 50, width=32)))
def test_softmax(planes: np.ndarray) -> None:
    out = softmax(planes)
    assert np.allclose(out.sum(0), 1, atol=1e-5)
    assert np.allclose(out, torch.from_numpy(planes).softmax(0).numpy(), atol=1e-6)


def test_crf_follows_the_edges_of_the_picture() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 255
    planes = np.zeros((2, 40, 60), np.float32)
    planes[0, :, :24] = 2  # six pixels short of the edge
    planes[1, :, 36:] = 2
    out = dense_crf(softmax(planes), image, PnPConfig())
    assert np.allclose(out.sum(0), 1, atol=1e-4)
    assert (out.argmax(0)[:, :30] == 0).all()
    assert (out.argmax(0)[:, 30:] == 1).all()


def test_crf_of_one_plane_and_of_a_wrong_picture() -> None:
    one = np.full((1, 4, 5), 0.2, np.float32)
    assert (dense_crf(one, picture(4, 5), PnPConfig()) == 1).all()
    with pytest.raises(OvssError, match="planes of 4 x 5 pixels"):
        dense_crf(one, picture(5, 4), PnPConfig())


def test_crf_is_quick() -> None:
    planes = softmax(np.random.default_rng(0).random((5, 150, 200)).astype(np.float32))
    times = []
    for _ in range(3):
        begin = time.process_time()
        dense_crf(planes, picture(150, 200), PnPConfig())
        times.append(time.process_time() - begin)
    # About 0.1 s; the margin is for machines that are busy.
    assert min(times) < 0.5


def test_decide_ties_and_background() -> None:
    planes = np.float32([[[1, 0, 0]], [[1, 2, 0]], [[0, 2, 3]]])
    assert decide(planes, background=True).tolist() == [[-1, 0, 1]]
    assert decide(planes, background=False).tolist() == [[0, 1, 2]]


@given(
    st.permutations(list(range(6))),
    hnp.arrays(np.int16, (5, 7), elements=st.integers(-1, 5)),
)
def test_relabel_never_chains(ids: list[int], labels: np.ndarray) -> None:
    before = labels.copy()
    out = relabel(labels, np.array(ids), background=99)
    assert (labels == before).all()
    for index, target in enumerate(ids):
        assert (out[labels == index] == target).all()
    assert (out[labels == -1] == 99).all()


def test_peak_scores() -> None:
    planes = np.float32([[[0.2, 0.9]], [[0.1, 0.3]], [[5, 5]]])
    assert peak_scores(np.array([[0, 1]]), planes) == pytest.approx((0.2, 0.3, 0.0))
