"""Colours of classes: fixed by name, told apart without red or green cones."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ovsslib.draw.colours import FIXED, class_colours
from ovsslib.io.class_names import class_names

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "without red cones": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "without green cones": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def lab(colours: np.ndarray, sight: np.ndarray) -> np.ndarray:
    """CIELAB under D65 of colours (K, 3) as they are seen."""
    from skimage.color import rgb2lab

    unit = colours / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ sight.T, 0, 1)
    back = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return rgb2lab(back)


def test_every_class_of_diorama_has_its_colour() -> None:
    assert tuple(FIXED) == tuple(class_names("diorama"))


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_far_apart(sight: str) -> None:
    points = lab(np.array([*FIXED.values()], float), SIGHT[sight])
    assert min(np.linalg.norm(a - b) for a, b in combinations(points, 2)) > 15


def test_a_name_keeps_its_colour() -> None:
    alone, beside = class_colours(["sky"]), class_colours(["sofa", "sky", "lamp"])
    assert (alone[0] == beside[1]).all()
    assert len({tuple(row) for row in class_colours([f"{k}" for k in range(200)])}) == 200
    assert class_colours([]).shape == (0, 3)
