"""Boundary IoU (Cheng et al. 2021): intersection over union of the pixels near contours.

A class's boundary pixels are those of its mask which lie within a distance d of its contour, d
being 2 % of the image's diagonal; the image's edge is a contour too. Large objects, whose
interior outweighs their outline in the plain IoU, are judged by their outline.

The definition needs a mask's erosion per class. Here one minimum and one maximum filter serve all
classes: a pixel survives the erosion of its own class if and only if no other label is near it.
"""

from __future__ import annotations

import math

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.metrics.counts import Counts

RATIO = 0.02
"""Distance over the image's diagonal (Cheng et al., section 4)."""


def distance(height: int, width: int, ratio: float = RATIO) -> int:
    """How far from a contour pixels count, in pixels, at least 1.

    Example:
        >>> distance(375, 500), distance(10, 10)
        (12, 1)
    """
    return max(1, round(ratio * math.hypot(height, width)))


def boundary_mask(labels: np.ndarray, d: int, void: np.ndarray | None = None) -> np.ndarray:
    """Pixels that lie within a distance of the contour of their own label.

    Distances are counted in steps along rows, columns and diagonals (a square of side 2d + 1), as
    the authors' erosion does.

    Args:
        labels: (H, W) integers.
        d: Distance in pixels, at least 1.
        void: (H, W) bool, pixels that have no label: they are in no boundary and make none, so
            that an answer which is right wherever there is a label has the boundaries of the truth.

    Returns:
        (H, W) bool.

    Example:
        >>> boundary_mask(np.repeat([[0] * 4 + [1] * 4], 8, axis=0), 1)[4].astype(int).tolist()
        [1, 0, 0, 1, 1, 0, 0, 1]
    """
    values = labels.astype(np.int16)
    empty = np.zeros(values.shape, bool) if void is None else void
    low, high = np.iinfo(np.int16).min, np.iinfo(np.int16).max
    side = 2 * d + 1
    most = _slide(np.maximum, np.where(empty, low, values).astype(np.int16), side, low)
    least = _slide(np.minimum, np.where(empty, high, values).astype(np.int16), side, high)
    near = (most != values) | (least != values)
    for edge in (near[:d], near[-d:], near[:, :d], near[:, -d:]):
        edge[...] = True
    return near & ~empty


def _slide(choose: np.ufunc, values: np.ndarray, side: int, outside: int) -> np.ndarray:
    """The maximum (or minimum) in the square of odd side around each pixel.

    A window is made of two halves that overlap, each of which was made in the same way: five steps
    for a side of 25 instead of 24, over whole rows at a time.
    """
    padded = np.pad(values, side // 2, constant_values=outside)
    for _ in range(2):
        extreme, length = padded, 1
        while length < side:
            step = min(length, side - length)
            extreme = choose(extreme[:-step], extreme[step:])
            length += step
        padded = np.ascontiguousarray(extreme.T)
    return padded


def counts(
    labels: np.ndarray,
    truth: np.ndarray,
    n: int,
    *,
    ignore: int | None = 255,
    ratio: float = RATIO,
) -> Counts:
    """Boundary pixels of one image per class; `ovsslib.metrics.iou` makes figures of their sums.

    Args:
        labels: (H, W) integers 0..n-1, the answer.
        truth: (H, W) integers 0..n-1, or `ignore` where a pixel is not scored.
        n: Number of labels, background included.
        ignore: The label of void pixels, or None when there are none.
        ratio: Distance over the image's diagonal.

    Returns:
        Counts of length 1 over n labels: boundary pixels of both, of the answer, of the truth.

    Raises:
        OvssError: Shapes differ, or a value is outside its range.

    Example:
        >>> truth = np.repeat([[0] * 4 + [1] * 4], 8, axis=0)
        >>> one = counts(truth, truth, 2)
        >>> one.intersection.tolist() == one.truth.tolist() == [[20, 20]]
        True
    """
    if labels.shape != truth.shape or labels.ndim != 2:
        raise OvssError(f"prediction {labels.shape} and label {truth.shape} must be one (H, W)")
    void = np.zeros(truth.shape, bool) if ignore is None else truth == ignore
    for name, values in (("label", truth[~void]), ("prediction", labels[~void])):
        if values.size and not (values.min() >= 0 and values.max() < n):
            raise OvssError(f"a {name} lies outside the classes 0..{n - 1}")
    height, width = truth.shape
    d = distance(height, width, ratio)
    predicted, true = boundary_mask(labels, d, void), boundary_mask(truth, d, void)

    def per_class(chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.bincount(values[chosen].astype(np.int64), minlength=n)[None]

    both = predicted & true & (labels == truth)
    return Counts(per_class(both, truth), per_class(predicted, labels), per_class(true, truth))
