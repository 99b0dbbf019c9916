"""Figures that were measured under several random draws: means, slopes and their intervals.

A figure that depends on drawn words has two reasons to vary: the images and the words. Letters: A
amounts of a change, D draws of words, R resamples of the images (`ovsslib.metrics.iou.resampled`).
"""

from __future__ import annotations

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import Seed, check_types
from ovsslib.metrics.iou import Interval, over_images


def over_draws(values: np.ndarray, *, level: float = 0.95) -> Interval:
    """The mean over draws with Student's interval; the images stay the same.

    Args:
        values: (D,) figures, one a draw.
        level: Coverage, 0..1.

    Returns:
        The mean; of a single draw without an interval (NaN).

    Example:
        >>> found = over_draws(np.array([0.4, 0.5, 0.6]))
        >>> [round(x, 3) for x in (found.low, found.value, found.high)]
        [0.252, 0.5, 0.748]
    """
    from scipy import stats

    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = stats.t.ppf(0.5 + level / 2, count - 1) * np.std(values, ddof=1) / count**0.5
    return Interval(mean, mean - float(half), mean + float(half))


def slope(amounts: np.ndarray, values: np.ndarray, base: np.ndarray) -> np.ndarray:
    """How much a figure changes per unit of an amount: least squares, through the figure at 0.

    Args:
        amounts: (A,) above 0.
        values: (A, ...) figures.
        base: (...) figures at amount 0.

    Returns:
        (...): the sum of amount times change over the sum of squared amounts.

    Raises:
        OvssError: There is no amount, or one is not above 0.

    Example:
        >>> round(float(slope(np.array([0.5, 1.0]), np.array([0.5, 0.4]), np.array(0.6))), 3)
        -0.2
    """
    if not len(amounts) or np.min(amounts) <= 0:
        raise OvssError(f"a slope needs amounts above 0, got {np.asarray(amounts).tolist()}")
    change = np.moveaxis(values - base, 0, -1)
    return np.asarray(change @ amounts / np.square(amounts).sum())


def slope_interval(
    amounts: np.ndarray,
    values: np.ndarray,
    base: float,
    drawn: np.ndarray,
    drawn_base: np.ndarray,
    *,
    seed: int = 0,
) -> Interval:
    """The slope with a 95 % bootstrap interval over images and draws together.

    A draw is taken with its figures at all amounts, since those of one draw belong together.

    Args:
        amounts: (A,) above 0.
        values: (A, D) figures of all images.
        base: The figure at amount 0.
        drawn: (A, D, R) figures of resamples of the images.
        drawn_base: (R,) the same at amount 0.
        seed: Of the resamples of draws.

    Returns:
        The slope of the means over draws. With a single draw the interval is over images only.
    """
    check_types({"seed": seed}, {"seed": Seed})
    draws, resamples = drawn.shape[1:]
    picked = np.random.default_rng(seed).integers(draws, size=(resamples, draws))
    # (A, R): the mean over the draws that a resample picked, each under that resample's images.
    means = drawn[:, picked, np.arange(resamples)[:, None]].mean(-1)
    value = slope(amounts, values.mean(1), np.asarray(base))
    return over_images(float(value), slope(amounts, means, drawn_base))
