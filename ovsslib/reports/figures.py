"""A run at a glance: headline figures, seconds per image, best and worst images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.metrics import iou as metrics

if TYPE_CHECKING:
    from ovsslib.evaluate.result import RunResult

TITLES = {"miou": "mIoU", "miou_things": "mIoU, things", "miou_stuff": "mIoU, stuff"}
"""What tables call the figures of `RunResult.groups`."""


def headline(result: RunResult) -> Any:
    """The figures of a run that people quote, with intervals.

    Args:
        result: The run.

    Returns:
        DataFrame, one row per figure: value, low and high (95 % bootstrap interval over images)
        in per cent, and over how many labels that occur the mean is (1 for those that are no
        mean). Figures without any label or pixel are left out.
    """
    import pandas as pd

    absent = result.protocol["absent"]
    known = ~np.isnan(metrics.iou(result.counts, absent=absent))
    rows: dict[str, tuple[metrics.Interval, int]] = {}
    for key, labels in result.groups.items():
        if not labels:
            continue
        n = int(known[list(labels)].sum())
        rows[TITLES[key]] = metrics.interval(result.counts, labels, absent=absent), n
    if result.boundary is not None:
        near = metrics.interval(result.boundary, result.scored, absent=absent)
        rows["boundary mIoU"] = near, int(known[list(result.scored)].sum())
    if result.counts.truth[:, 0].any():
        rows["background IoU"] = metrics.interval(result.counts, [0], absent=absent), 1
    rows["pixel accuracy"] = metrics.accuracy_interval(result.counts), 1
    table = {
        title: {key: 100 * value for key, value in found.to_dict().items()} | {"labels": n}
        for title, (found, n) in rows.items()
    }
    return pd.DataFrame(table).T.astype({"labels": int})


def seconds_per_picture(result: RunResult) -> dict[str, float]:
    """Stage -> seconds per image, over all processes; empty where no stage was timed."""
    n = max(1, len(result.ids) + len(result.failed))
    return {stage: seconds / n for stage, seconds in result.stages.items()}


def picture_means(result: RunResult) -> np.ndarray:
    """Mean IoU of each image over the classes that are in it.

    Args:
        result: The run.

    Returns:
        (B,) float64, 0..1; NaN for an image without a scored class.
    """
    counts = result.counts
    union = counts.predicted + counts.truth - counts.intersection
    ratio = counts.intersection / np.maximum(union, 1)
    scored = np.zeros(counts.truth.shape[1], bool)
    scored[list(result.scored)] = True
    present = (counts.truth > 0) & scored
    number = present.sum(1)
    total = np.where(present, ratio, 0.0).sum(1)
    return np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)


def extremes(values: np.ndarray, n: int = 3) -> tuple[list[int], list[int]]:
    """Where the highest and the lowest values are; no place is in both.

    Args:
        values: (B,), NaN left out.
        n: How many of each at the most.

    Returns:
        Indices of the highest, falling, and of the lowest, rising.

    Example:
        >>> extremes(np.array([0.5, 0.9, np.nan, 0.1, 0.7]), 2)
        ([1, 4], [3, 0])
    """
    order = [int(k) for k in np.argsort(values, kind="stable") if not np.isnan(values[k])]
    low = order[: min(n, len(order) // 2)]
    return order[len(low) :][::-1][:n], low
