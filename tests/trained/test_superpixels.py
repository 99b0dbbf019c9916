"""Superpixels: regions of one colour, patch by patch, each image once."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.trained import superpixels as module
from ovsslib.trained.superpixels import Superpixels, of_patches, superpixels


def halves() -> np.ndarray:
    """Left dark, right light."""
    picture = np.full((64, 64, 3), 30, np.uint8)
    picture[:, 32:] = 220
    return picture


def test_regions_of_one_colour() -> None:
    numbers = superpixels(halves())
    left, right = (
        set(part.flatten().tolist()) for part in (numbers[4:-4, 4:28], numbers[4:-4, 36:-4])
    )
    assert len(left) == len(right) == 1
    assert left != right


def test_patches_by_mean_and_by_vote() -> None:
    numbers = np.zeros((4, 4), int)
    numbers[:2, :2] = [[2, 4], [4, 4]]
    numbers[2:, :2] = [[7, 7], [1, 1]]
    assert of_patches(numbers, 2, vote=False).tolist() == [3, 0, 4, 0]
    assert of_patches(numbers, 2, vote=True).tolist() == [4, 0, 1, 0]


def test_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = module.superpixels
    monkeypatch.setattr(module, "superpixels", lambda one: seen.append(1) or real(one))
    find = Superpixels(8, vote=True)
    pictures = np.stack([halves(), halves()[:, ::-1], halves()])
    first = find(pictures)
    assert first.shape == (3, 64)
    assert len(seen) == 2
    assert (find(pictures[1:]) == first[1:]).all()
    assert len(seen) == 2


def test_without_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("skimage"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(OvssError, match="python -m pip install scikit-image"):
        superpixels(halves())
