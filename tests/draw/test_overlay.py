"""The overlay image drawn with Pillow."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ovsslib.draw.colours import class_colours
from ovsslib.draw.overlay import blend, found_classes, overlay_image, shares

LABELS = np.zeros((30, 40), np.int16)
LABELS[:, 20:] = 1
LABELS[20:] = -1


def test_blend_colours_classes_and_leaves_background() -> None:
    image = np.full((30, 40, 3), 100, np.uint8)
    out = blend(image, LABELS, ["cat", "grass"], alpha=0.5)
    colours = class_colours(["cat", "grass"]).astype(int)
    assert np.abs(out[5, 5].astype(int) - (100 + colours[0]) / 2).max() <= 1
    assert np.abs(out[5, 30].astype(int) - (100 + colours[1]) / 2).max() <= 1
    assert out[28, 5].tolist() == [100, 100, 100]
    assert out[5, 20].tolist() == [255, 255, 255]
    assert (image == 100).all()


@pytest.mark.parametrize("size", [(40, 30), (1, 1), (3000, 4), (4, 3000), (2200, 1700)])
def test_any_size_gets_a_readable_sheet(size: tuple[int, int]) -> None:
    labels = np.zeros(size[::-1], np.int16)
    sheet = overlay_image(Image.new("RGB", size, "gray"), labels, ["house"])
    assert sheet.mode == "RGB"
    assert sheet.width >= 240
    assert max(sheet.size) <= 1700


def test_legend_is_white_and_shows_only_classes_found() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    big = np.kron(LABELS, np.ones((10, 10), np.int16))
    classes = ["house", "traffic light", "never seen"]
    sheet = np.asarray(overlay_image(image, big, classes))
    legend = sheet[-20:]
    assert (sheet[-3:] == 255).all()
    present = {tuple(c) for c in sheet[360:].reshape(-1, 3).tolist()}
    first, second, third = (tuple(c) for c in class_colours(classes).tolist())
    assert first in present
    assert second in present
    assert third not in present
    assert legend.shape[2] == 3


def test_long_legends_wrap_and_cut() -> None:
    labels = np.arange(600, dtype=np.int16).reshape(20, 30) % 60
    names = [f"a rather long class name number {k} " + "x" * (200 * (k == 7)) for k in range(60)]
    sheet = overlay_image(Image.new("RGB", (30, 20)), labels, names)
    assert sheet.width == 480
    assert sheet.height > 1000


def test_legend_says_in_words_that_nothing_was_found() -> None:
    labels = np.full((40, 50), -1)
    nothing = np.asarray(overlay_image(Image.new("RGB", (50, 40)), labels, ["cat"]))
    legend = nothing[384:]  # below the enlarged image, 480 x 384
    assert legend.shape[0] > 0
    columns = np.flatnonzero((legend < 128).any((0, 2)))
    assert 80 < columns.max() - columns.min() < 140  # as wide as "no class found"


def test_shares_and_classes_with_pixels() -> None:
    assert shares(LABELS, 3) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert found_classes(LABELS, ["a", "b", "c"]) == [(0, "a", 1 / 3), (1, "b", 1 / 3)]


def test_matplotlib_and_torch_are_not_imported() -> None:
    code = (
        "import sys, ovsslib.draw.overlay;"
        "sys.exit(bool({'matplotlib', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
