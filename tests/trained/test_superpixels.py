"""Superpixels: regions of one colour, patch by patch."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.trained.superpixels import of_patches, patch_superpixels, superpixels


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


def test_patches_of_several_images() -> None:
    pictures = np.stack([halves(), halves()[:, ::-1]])
    found = patch_superpixels(pictures, 8, vote=True)
    assert found.shape == (2, 64)
    for picture, numbers in zip(pictures, found, strict=True):
        assert numbers.tolist() == of_patches(superpixels(picture), 8, vote=True).tolist()


def test_without_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("skimage"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(OvssError, match="python -m pip install scikit-image"):
        superpixels(halves())
