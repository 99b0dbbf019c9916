"""Bilinear resizing and Gaussian smoothing of planes.

Smoothing is one matrix product along each axis, and so is resizing as long as there are few cells,
as in maps over patches. The smoothing equals `scipy.ndimage.gaussian_filter` (mode `reflect`,
truncated at four standard deviations), whose import takes longer than refining an image; for wide
blurs the product is faster as well. Refining an image needs no torch: its processes stay small.
"""

from __future__ import annotations

import numpy as np

_FEW = 64
"""Cells along an axis up to which a matrix product is quicker than two weights a pixel."""


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


def line_weights(count: int, size: int, align_corners: bool) -> np.ndarray:
    """(size, count) float32 weights of linear interpolation along one axis.

    Single precision on purpose: the released code's float32 positions decide which pixels are
    exactly 0, and with them the background plane.
    """
    steps = np.arange(size, dtype=np.float32)
    if align_corners:
        scale = np.float32((count - 1) / (size - 1)) if size > 1 else np.float32(0)
        where = scale * steps
    else:
        where = np.maximum(
            np.float32(count / size) * (steps + np.float32(0.5)) - np.float32(0.5), 0
        )
    low = np.minimum(where.astype(np.int64), count - 1)
    high = np.minimum(low + 1, count - 1)
    part = np.clip(where - low.astype(np.float32), 0, 1).astype(np.float32)
    weights = np.zeros((size, count), np.float32)
    rows = np.arange(size)
    np.add.at(weights, (rows, low), 1 - part)
    np.add.at(weights, (rows, high), part)
    return weights


def upsample(maps: np.ndarray, size: tuple[int, int], *, align_corners: bool = False) -> np.ndarray:
    """Bilinear interpolation to pixels.

    Args:
        maps: (K, h, w).
        size: Height H and width W in pixels.
        align_corners: False aligns the outer edges of the grid, True the centres of its corner
            cells (released code).

    Returns:
        (K, H, W) float32.

    Example:
        >>> upsample(np.float32([[[0, 1]]]), (1, 3), align_corners=True).tolist()
        [[[0.0, 0.5, 1.0]]]
    """
    maps = maps.astype(np.float32)
    if maps.shape[1:] == tuple(size):
        return maps
    if max(maps.shape[1:]) > _FEW:
        return _resized(maps, size, align_corners=align_corners)
    down = line_weights(maps.shape[1], size[0], align_corners)
    across = line_weights(maps.shape[2], size[1], align_corners)
    return down @ maps @ across.T


def _resized(maps: np.ndarray, size: tuple[int, int], *, align_corners: bool) -> np.ndarray:
    """As `upsample` but for rounding, and quicker where there are many cells."""
    import torch
    from torch.nn import functional

    planes = torch.from_numpy(np.ascontiguousarray(maps))[None]
    resized = functional.interpolate(planes, size, mode="bilinear", align_corners=align_corners)
    return np.asarray(resized[0])


def shrink(image: np.ndarray, longest: int | None) -> np.ndarray:
    """The image with its longer side at most `longest` pixels (None: as it is)."""
    height, width = image.shape[:2]
    if longest is None or max(height, width) <= longest:
        return image
    from PIL import Image

    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
