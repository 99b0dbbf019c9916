"""Gaussian smoothing with numpy alone.

Equals `scipy.ndimage.gaussian_filter` (mode `reflect`, truncated at four standard deviations),
whose import takes longer than refining an image. Along an axis the filter is one matrix product,
which for wide blurs is faster as well.
"""

from __future__ import annotations

import numpy as np


def line_filter(size: int, sigma: float) -> np.ndarray:
    """The filter along an axis as a matrix.

    Args:
        size: Number of pixels n, at least 1.
        sigma: Standard deviation in pixels, above 0.

    Returns:
        (n, n) float64 whose rows sum to 1; pixels beyond an edge are those before it, mirrored.

    Example:
        >>> line_filter(2, 0.3).round(3).tolist()
        [[0.996, 0.004], [0.004, 0.996]]
    """
    radius = int(4 * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    # d c b a | a b c d | d c b a: a period of 2n.
    source = (np.arange(size)[:, None] + steps) % (2 * size)
    source = np.minimum(source, 2 * size - 1 - source)
    place = (np.arange(size)[:, None] * size + source).ravel()
    matrix = np.bincount(place, np.tile(weights, size), minlength=size * size)
    return matrix.reshape(size, size)


def gaussian(planes: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth each plane.

    Args:
        planes: (C, H, W) numbers; not changed.
        sigma: Standard deviation in pixels; 0 changes nothing.

    Returns:
        (C, H, W) of the type of `planes`; sums are formed in float64.

    Example:
        >>> gaussian(np.ones((1, 2, 3)), 1.0).round(6).tolist()
        [[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]
    """
    if not sigma:
        return planes.copy()
    down, across = (line_filter(size, sigma) for size in planes.shape[1:])
    out = np.empty_like(planes)
    for index, plane in enumerate(planes):
        out[index] = down @ plane
        out[index] = out[index] @ across.T
    return out
