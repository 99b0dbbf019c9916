"""What refinement begins with: weak salience is cleared, and whether a background competes.

Letters: K classes, h x w patches.
"""

from __future__ import annotations

import numpy as np


def min_max(plane: np.ndarray) -> np.ndarray:
    """Stretch each of (K, h, w) maps to [0, 1]; a map without contrast becomes 0.

    Example:
        >>> min_max(np.array([[[1.0, 3.0]], [[2.0, 2.0]]])).tolist()
        [[[0.0, 1.0]], [[0.0, 0.0]]]
    """
    low = plane.min(axis=(1, 2), keepdims=True)
    span = plane.max(axis=(1, 2), keepdims=True) - low
    return np.where(span > 0, (plane - low) / np.where(span > 0, span, 1), 0)


def threshold(maps: np.ndarray, level: float) -> np.ndarray:
    """Clear weak salience: 0 where the min-max normalised value is below the level.

    Args:
        maps: (K, h, w), not negative; not changed.
        level: In [0, 1].

    Returns:
        (K, h, w), elsewhere the *raw* values.

    Example:
        >>> threshold(np.array([[[1.0, 2.0, 11.0]]]), 0.15).tolist()
        [[[0.0, 0.0, 11.0]]]
    """
    return np.where(min_max(maps) >= level, maps, 0).astype(maps.dtype)


def needs_background(classes: int, rule: str) -> bool:
    """Whether a background plane competes with this number of classes.

    Example:
        >>> [needs_background(k, "few") for k in (2, 3)]
        [True, False]
    """
    return rule == "always" or (rule == "few" and classes < 3)
