"""Colours of classes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ovsslib.io.palette import ink, voc_palette
from support.helpers import SHARED, needs_realdata


def test_first_and_last_colours_are_the_official_ones() -> None:
    palette = voc_palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 8: (64, 0, 0)}
    expected |= {15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {k: tuple(palette[k].tolist()) for k in expected} == expected


def test_all_colours_differ() -> None:
    assert len({tuple(row) for row in voc_palette().tolist()}) == 256


@needs_realdata
def test_palette_of_a_real_voc_label() -> None:
    path = SHARED / "VOCdevkit/VOC2012/SegmentationClass/2007_000129.png"
    stored = np.array(Image.open(path).getpalette("RGB")).reshape(-1, 3)
    assert (stored == voc_palette()[: len(stored)]).all()


@pytest.mark.parametrize("k", range(21))
def test_ink_contrasts(k: int) -> None:
    """WCAG's contrast ratio of the chosen ink is at least 4.5, its bound for text."""

    def luminance(colour: np.ndarray) -> float:
        unit = np.asarray(colour, float) / 255
        linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    colour = voc_palette()[k]
    high, low = sorted([luminance(colour), luminance(np.array(ink(colour)))], reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5
