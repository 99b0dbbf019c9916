"""Intersection over union from integer counts, with bootstrap intervals over images.

Every figure comes from three integers per image and class: pixels predicted and true
(`intersection`), pixels `predicted`, pixels of the `truth`. Their sums do not depend on the
order of images or on the number of workers, and a bootstrap resample is a weighted sum of them, so
it is exact. Two conventions for a class without ground truth in the whole set are in use:

- `"count"` (mmsegmentation; torchmetrics `multiclass_jaccard_index(average="macro")`): a class
  that is predicted somewhere scores 0; only a class neither true nor predicted is left out;
- `"drop"` (the released PnP-OVSS code): a class without ground truth is left out in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import Count, Seed, check_types
from ovsslib.metrics.counts import COUNT_NAMES, Counts, counts_from_confusion

Absent = Literal["count", "drop"]


def iou_from_confusion(matrix: np.ndarray, *, absent: Absent = "count") -> np.ndarray:
    """Intersection over union per class.

    Args:
        matrix: (C, C) integers, row = true class.
        absent: What a class without ground truth scores (see the module).

    Returns:
        (C,) float64 in 0..1; NaN where a class is left out.

    Example:
        >>> iou_from_confusion(np.array([[2, 1], [0, 3]])).round(3).tolist()
        [0.667, 0.75]
    """
    return iou(counts_from_confusion(matrix), absent=absent)


def iou(counts: Counts, *, absent: Absent = "count") -> np.ndarray:
    """Intersection over union per class, summed over all images: (C,) float64, NaN = left out."""
    sums = [getattr(counts, name).sum(0) for name in COUNT_NAMES]
    return _iou(*sums, absent=absent)


def _iou(
    intersection: np.ndarray, predicted: np.ndarray, truth: np.ndarray, *, absent: Absent
) -> np.ndarray:
    if absent not in ("count", "drop"):
        raise OvssError(f"absent={absent!r} is unknown; use 'count' or 'drop'")
    union = predicted + truth - intersection
    keep = (union > 0) if absent == "count" else (truth > 0)
    return _ratio(intersection, np.where(keep, union, 0))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element by element; NaN where the denominator is 0."""
    out = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)


def precision(counts: Counts) -> np.ndarray:
    """Share of the pixels predicted as a class that are of it: (C,), NaN when none is predicted."""
    return _ratio(counts.intersection.sum(0), counts.predicted.sum(0))


def recall(counts: Counts) -> np.ndarray:
    """Share of a class's pixels that are predicted as it: (C,), NaN when it has none."""
    return _ratio(counts.intersection.sum(0), counts.truth.sum(0))


def pixel_accuracy(counts: Counts) -> float:
    """Share of all scored pixels that are right, background included; NaN for no pixel."""
    total = counts.truth.sum()
    return float(counts.intersection.sum() / total) if total else float("nan")


def mean_iou(
    counts: Counts, classes: Sequence[int] | None = None, *, absent: Absent = "count"
) -> float:
    """Mean IoU over some classes.

    Args:
        counts: Of a data set.
        classes: Ids to average over; None for all, background included.
        absent: See the module.

    Returns:
        0..1, NaN when every class is left out.

    Example:
        >>> one = np.array([[4, 2]])
        >>> mean_iou(Counts(one, one + 1, one), [1]) == 2 / 3
        True
    """
    return float(_nanmean(iou(counts, absent=absent)[_columns(counts, classes)]))


def _columns(counts: Counts, classes: Sequence[int] | None) -> np.ndarray:
    n = counts.truth.shape[1]
    return np.arange(n) if classes is None else np.asarray(sorted(classes), np.int64)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN, and without numpy's warning when all are NaN."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(-1), known.sum(-1))


def resample_weights(n: int, *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each image occurs in each bootstrap resample.

    Args:
        n: Number of images.
        resamples: Number of resamples R.
        seed: The same seed gives the same resamples, so that two runs can be compared in pairs.

    Returns:
        (R, n) int64; every row sums to `n`.

    Example:
        >>> resample_weights(5, resamples=3).sum(1).tolist()
        [5, 5, 5]
    """
    given = {"n": n, "resamples": resamples, "seed": seed}
    check_types(given, {"n": Count, "resamples": Count, "seed": Seed})
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1.0 / n), size=resamples)


def resampled(
    counts: Counts, classes: Sequence[int] | None, absent: Absent, weights: np.ndarray
) -> np.ndarray:
    """Mean IoU of every resample.

    Args:
        counts: Of B images.
        classes: Ids to average over; None for all.
        absent: See the module.
        weights: (R, B) from `resample_weights`; the same for two runs makes a pair of them.

    Returns:
        (R,) float64, NaN where every class is left out.
    """
    columns = _columns(counts, classes)
    # Float64 holds these integers exactly (below 2**53) and multiplies far faster than int64.
    sums = [
        weights.astype(np.float64) @ getattr(counts, name)[:, columns].astype(np.float64)
        for name in COUNT_NAMES
    ]
    return _nanmean(_iou(*sums, absent=absent))


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap percentile interval: `low <= value <= high` as a rule."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain numbers for a results file."""
        return {"value": self.value, "low": self.low, "high": self.high}


def interval(
    counts: Counts,
    classes: Sequence[int] | None = None,
    *,
    absent: Absent = "count",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Mean IoU with its percentile bootstrap interval over images.

    Args:
        counts: Of B images.
        classes: Ids to average over; None for all.
        absent: See the module.
        level: Coverage, 0..1.
        resamples: Number of resamples.
        seed: Of the resamples.

    Returns:
        The figure and its interval, each 0..1.
    """
    return _percentiles(
        mean_iou(counts, classes, absent=absent),
        lambda weights: resampled(counts, classes, absent, weights),
        n=len(counts),
        level=level,
        resamples=resamples,
        seed=seed,
    )


def accuracy_interval(
    counts: Counts, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """`pixel_accuracy` with its interval; arguments as in `interval`."""
    right, total = counts.intersection.sum(1), counts.truth.sum(1)
    return _percentiles(
        pixel_accuracy(counts),
        lambda weights: _ratio(weights @ right, weights @ total),
        n=len(counts),
        level=level,
        resamples=resamples,
        seed=seed,
    )


def paired_interval(
    counts: Counts,
    base: Counts,
    classes: Sequence[int] | None = None,
    *,
    absent: Absent = "count",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Difference in mean IoU between two runs over the same images, with its interval.

    Both runs see the same resamples, so that what is common to them (hard and easy images) cancels.

    Args:
        counts: Of B images.
        base: Of the same images in the same order; the difference is `counts - base`.
        classes: Ids to average over; None for all.
        absent: See the module.
        level: Coverage, 0..1.
        resamples: Number of resamples.
        seed: Of the resamples.

    Returns:
        The difference and its interval, each -1..1.

    Raises:
        OvssError: The runs have different images.
    """
    options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    return runs_interval([counts], [base], classes, absent=absent, **options)


def runs_interval(
    runs: Sequence[Counts],
    base: Sequence[Counts] = (),
    classes: Sequence[int] | None = None,
    *,
    absent: Absent = "count",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The mean of several runs' mean IoU, with an interval over images and runs.

    Images and runs (of networks that were trained with other seeds) are both drawn with
    replacement. The difference of two equally long lists is paired in both.

    Args:
        runs: At least one, over the same images.
        base: Runs over the same images, whose mean is subtracted; none for the mean itself.
        classes: Ids to average over; None for all.
        absent: See the module.
        level: Coverage, 0..1.
        resamples: Number of resamples.
        seed: Of the resamples.

    Returns:
        The mean or the difference, and its interval.

    Raises:
        OvssError: The runs have different images, or there is none.
    """
    if not runs:
        raise OvssError("an interval over runs needs at least one run")
    truth = runs[0].truth
    if any(not np.array_equal(one.truth, truth) for one in (*runs, *base)):
        raise OvssError("runs can be compared over the same images in the same order only")

    def means(some: Sequence[Counts], weights: np.ndarray) -> np.ndarray:
        values = np.stack([resampled(one, classes, absent, weights) for one in some])
        picked = np.random.default_rng([seed, 1]).integers(
            len(some), size=(len(some), len(weights))
        )
        return np.take_along_axis(values, picked, 0).mean(0)

    value = np.mean([mean_iou(one, classes, absent=absent) for one in runs])
    if base:
        value -= np.mean([mean_iou(one, classes, absent=absent) for one in base])
    return _percentiles(
        float(value),
        lambda weights: means(runs, weights) - (means(base, weights) if base else 0),
        n=len(runs[0]),
        level=level,
        resamples=resamples,
        seed=seed,
    )


def over_images(value: float, drawn: np.ndarray, *, level: float = 0.95) -> Interval:
    """A figure with the percentiles of its values under resamples of the images.

    Args:
        value: The figure of all images.
        drawn: (R,) of the resamples; NaN is left out.
        level: Coverage, 0..1.
    """
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return Interval(value, float("nan"), float("nan"))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(known, [tail, 100.0 - tail])
    return Interval(value, float(low), float(high))


def _percentiles(
    value: float,
    figure: Callable[[np.ndarray], np.ndarray],
    *,
    n: int,
    level: float,
    resamples: int,
    seed: int,
) -> Interval:
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    drawn = figure(resample_weights(n, resamples=resamples, seed=seed))
    return over_images(value, drawn, level=level)
