"""The geometry of sliding windows, and PnP-OVSS's maps by way of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.protocols.windows import (
    Window,
    boxes,
    cut,
    fit_size,
    stitch,
    stitch_maps,
    window_maps,
)
from support.helpers import tiny_blip, write_photo  # noqa: F401 - a fixture

CONFIG = PnPConfig(layer=1, head=None, rounds=2, patches_per_round=5)
CLASSES = [("cat", "grass"), ("house",), ()]


@pytest.mark.parametrize(
    ("height", "width", "short", "expected"),
    [
        (375, 500, 448, (448, 597)),
        (500, 375, 448, (597, 448)),
        (375, 500, 336, (336, 448)),
        (300, 300, 448, (448, 448)),
        (100, 1000, 448, (205, 2048)),
        (1, 5000, 448, (1, 2048)),
    ],
)
def test_size_keeps_the_ratio_and_caps_the_longer_side(
    height: int, width: int, short: int, expected: tuple[int, int]
) -> None:
    assert fit_size(height, width, short) == expected


def test_windows_of_a_picture_of_voc() -> None:
    """375 x 500 pixels: two windows under TCL's rule, three times two under SCLIP's, 336 x 448."""
    assert boxes(448, 597, 448, 224) == [(0, 0, 448, 448), (0, 149, 448, 597)]
    found = boxes(336, 448, 224, 112)
    assert [box[:2] for box in found] == [(y, x) for y in (0, 112) for x in (0, 112, 224)]
    assert boxes(200, 224, 224, 112) == [(0, 0, 200, 224)]
    assert boxes(900, 800, None, 1) == [(0, 0, 900, 800)]


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_windows_cover_the_picture_and_follow_mmsegmentation(
    height: int, width: int, crop: int, stride: int
) -> None:
    """The same windows as mmsegmentation's two nested loops, whatever the sizes."""
    stride = min(stride, crop)
    expected = []
    for row in range(max(height - crop + stride - 1, 0) // stride + 1):
        for column in range(max(width - crop + stride - 1, 0) // stride + 1):
            bottom, right = min(row * stride + crop, height), min(column * stride + crop, width)
            expected.append((max(bottom - crop, 0), max(right - crop, 0), bottom, right))
    found = boxes(height, width, crop, stride)
    assert found == expected
    seen = np.zeros((height, width), bool)
    for top, left, bottom, right in found:
        seen[top:bottom, left:right] = True
    assert seen.all()


def test_wrong_windows() -> None:
    with pytest.raises(OvssError, match="leaves gaps"):
        Window(short=448, crop=100, stride=101)
    with pytest.raises(OvssError, match="window's short must be int >= 1, got 0"):
        Window(short=0, crop=100, stride=50)
    with pytest.raises(OvssError, match="uncovered"):
        stitch([np.ones((1, 1, 1))], [(0, 0, 1, 1)], (1, 2))


def test_stitched_planes_are_the_mean_of_what_overlaps() -> None:
    places = boxes(6, 10, 6, 2)
    parts = [np.full((2, 3, 3), float(index)) for index in range(len(places))]
    found = stitch(parts, places, (6, 10))
    assert found.shape == (2, 6, 10)
    assert found[1, 0].tolist() == [0, 0, 0.5, 0.5, 1, 1, 1.5, 1.5, 2, 2]


def test_one_window_keeps_its_map_as_it_is() -> None:
    maps = np.random.default_rng(0).random((3, 7, 7), np.float32)
    assert (stitch_maps([maps], [(0, 0, 448, 448)], (448, 448)) == maps).all()
    assert (stitch_maps([maps], [(0, 0, 100, 448)], (100, 448)) == maps).all()


@pytest.mark.parametrize(
    ("height", "width", "cells"), [(448, 597, 28), (448, 700, 21), (90, 64, 8)]
)
def test_a_ramp_over_the_picture_stays_a_ramp(height: int, width: int, cells: int) -> None:
    """Windows that see parts of one linear slope give that slope, wherever they lie."""
    crop = min(height, width)
    places = boxes(height, width, crop, crop // 2)
    step = crop / cells
    centres = (np.arange(cells) + 0.5) * step
    parts = [(top + centres)[:, None] + 3 * (left + centres) for top, left, _, _ in places]
    found = stitch_maps([part[None] for part in parts], places, (height, width))[0]
    rows, columns = found.shape
    assert (rows, columns) == (round(height / step), round(width / step))
    y = (np.arange(rows) + 0.5) * height / rows
    x = (np.arange(columns) + 0.5) * width / columns
    expected = y[:, None] + 3 * x
    # Beyond the centre of a window's outermost cells its map is flat, by half a cell at most.
    assert abs(found - expected).max() <= 2.01 * step
    exact = np.ones(found.shape, bool)
    for box in places:
        for axis, where in enumerate((y, x)):
            for edge in (box[axis], box[axis + 2]):
                near = abs(where - edge) < step / 2
                exact &= ~(near[:, None] if axis == 0 else near)
    assert exact.any()
    assert abs(found - expected)[exact].max() < 1e-3


def test_cut_gives_squares_of_the_resized_picture(tmp_path: Path) -> None:
    picture = Image.open(write_photo(tmp_path / "a.jpg", (100, 60)))
    parts, places, resized = cut(picture, Window(short=48, crop=32, stride=16))
    assert resized.size == (80, 48)
    assert len(parts) == len(places) == 8
    assert {part.size for part in parts} == {(32, 32)}
    top, left, bottom, right = places[5]
    whole = np.asarray(resized)[top:bottom, left:right]
    assert (np.asarray(parts[5]) == whole).all()


@pytest.fixture
def method(tiny_blip: Path) -> PnPOVSS:  # noqa: F811
    from ovsslib.vlm import load_vlm

    return PnPOVSS(load_vlm(tiny_blip, "cpu"), CONFIG)


def _pictures(folder: Path) -> list[Image.Image]:
    sizes = [(96, 96), (150, 100), (60, 130)]
    return [
        Image.open(write_photo(folder / f"{k}.png", size, seed=k)) for k, size in enumerate(sizes)
    ]


def test_without_windows_nothing_changes(method: PnPOVSS, tmp_path: Path) -> None:
    pictures = _pictures(tmp_path)
    plain, seen = method.maps(pictures, CLASSES), window_maps(method, pictures, CLASSES, None)
    assert all((a.maps == b.maps).all() for a, b in zip(plain, seen, strict=True))


def test_maps_of_windows_lie_where_the_windows_lie(method: PnPOVSS, tmp_path: Path) -> None:
    pictures = _pictures(tmp_path)
    found = window_maps(method, pictures, CLASSES, Window(short=96, crop=96, stride=48))
    plain = method.maps(pictures[:1], CLASSES[:1])[0]
    # An image as large as the window is seen as ever.
    assert (found[0].maps == plain.maps).all()
    assert found[0].match == pytest.approx(plain.match)
    side = plain.maps.shape[1]
    assert found[1].maps.shape == (1, side, 1.5 * side)
    assert found[2].maps.shape[0] == 0
    assert [maps.image.shape[:2] for maps in found] == [(96, 96), (100, 150), (130, 60)]
    # Where only one window sees, its own map counts; 144 pixels wide: 0..96 and 48..144.
    parts, _, _ = cut(pictures[1], Window(short=96, crop=96, stride=48))
    alone = method.maps(parts, [CLASSES[1]] * 2)
    half = side // 2
    assert np.allclose(found[1].maps[..., :half], alone[0].maps[..., :half])
    assert np.allclose(found[1].maps[..., side:], alone[1].maps[..., half:])
    both = (alone[0].maps[..., half:] + alone[1].maps[..., :half]) / 2
    assert np.allclose(found[1].maps[..., half:side], both)


def test_maps_do_not_depend_on_the_batch(method: PnPOVSS, tmp_path: Path) -> None:
    pictures = _pictures(tmp_path)
    window = Window(short=64, crop=48, stride=24)
    together = window_maps(method, pictures, CLASSES, window)
    for index, picture in enumerate(pictures):
        (alone,) = window_maps(method, [picture], [CLASSES[index]], window)
        assert np.allclose(alone.maps, together[index].maps, atol=1e-6)
        assert alone.classes == together[index].classes
