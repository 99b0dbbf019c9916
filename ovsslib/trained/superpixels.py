"""Superpixels of images (Felzenszwalb and Huttenlocher 2004, IJCV), patch by patch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ovsslib.errors import OvssError

REFERENCE = 224
"""Side in pixels that SegCLIP's numbers are for; here they grow with the area of an image."""
SCALE, SIGMA, LEAST = 224, 0.9, 224
"""Scale, blur in pixels, and least pixels of a superpixel, as SegCLIP sets them."""


def superpixels(picture: np.ndarray) -> np.ndarray:
    """Numbers (S, S) of the superpixels of an image (S, S, 3) uint8.

    Raises:
        OvssError: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise OvssError(
            "superpixels need scikit-image: python -m pip install scikit-image"
        ) from error
    area = (len(picture) / REFERENCE) ** 2
    found: np.ndarray = felzenszwalb(
        picture, scale=SCALE * area, sigma=SIGMA, min_size=max(1, round(LEAST * area))
    )
    return found


def of_patches(numbers: np.ndarray, patch: int, *, vote: bool) -> np.ndarray:
    """The superpixel of each patch (P,), row by row.

    Args:
        numbers: (S, S) of the pixels.
        patch: Side of a patch in pixels.
        vote: Whether the most frequent number of a patch wins. SegCLIP's code takes the mean, cut
            to a whole number, which may be that of a superpixel elsewhere.
    """
    side = len(numbers) // patch
    rows = numbers[: side * patch, : side * patch].reshape(side, patch, side, patch)
    cut = rows.swapaxes(1, 2).reshape(side * side, -1)
    if not vote:
        return cut.mean(1).astype(np.int64)
    return np.array([np.bincount(row).argmax() for row in cut])


def patch_superpixels(pictures: np.ndarray, patch: int, *, vote: bool) -> Tensor:
    """Superpixels (B, P) int64 of the patches of images (B, S, S, 3) uint8; see `of_patches`."""
    return torch.from_numpy(
        np.stack([of_patches(superpixels(one), patch, vote=vote) for one in pictures])
    )
