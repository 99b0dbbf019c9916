"""A run at a glance: headline figures, times, the best and worst images, confusions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.metrics import iou as metrics

if TYPE_CHECKING:
    from ovsslib.evaluate.result import RunResult

TITLES = {"miou": "mIoU", "miou_things": "mIoU, things", "miou_stuff": "mIoU, stuff"}
"""What tables call the figures of `RunResult.groups`."""
MOST_LABELS = 12
"""Labels in a heat map of confusions."""


def headline(result: RunResult) -> Any:
    """The figures of a run that are usually quoted, with intervals.

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
        boundary = metrics.interval(result.boundary, result.scored, absent=absent)
        rows["boundary mIoU"] = boundary, int(known[list(result.scored)].sum())
    if result.counts.truth[:, 0].any():
        rows["background IoU"] = metrics.interval(result.counts, [0], absent=absent), 1
    rows["pixel accuracy"] = metrics.accuracy_interval(result.counts), 1
    table = {
        title: {key: 100 * value for key, value in interval.to_dict().items()} | {"labels": n}
        for title, (interval, n) in rows.items()
    }
    return pd.DataFrame(table).T.astype({"labels": int})


def seconds_per_image(result: RunResult) -> dict[str, float]:
    """Stage -> seconds per image, over all processes; empty where no stage was timed."""
    n = max(1, len(result.ids) + len(result.failed))
    return {stage: seconds / n for stage, seconds in result.stages.items()}


def image_means(result: RunResult) -> np.ndarray:
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
    """Indices of the highest and of the lowest values; none is in both lists.

    Args:
        values: (B,), NaN left out.
        n: How many of each at most.

    Returns:
        Indices of the highest, falling, and of the lowest, rising.

    Example:
        >>> extremes(np.array([0.5, 0.9, np.nan, 0.1, 0.7]), 2)
        ([1, 4], [3, 0])
    """
    order = [int(k) for k in np.argsort(values, kind="stable") if not np.isnan(values[k])]
    low = order[: min(n, len(order) // 2)]
    return order[len(low) :][::-1][:n], low


def label_names(result: RunResult) -> tuple[str, ...]:
    """What to call each label of a run in a table; label 0 by what it stands for.

    Args:
        result: The run.

    Returns:
        C + 1 names. Label 0 is `"background"` where it counts as a class, `"background or
        void"` where the protocol counts void as label 0 too, else `"no class"`.
    """
    if result.protocol.get("void") == "background":
        zero = "background or void"
    else:
        zero = "background" if 0 in result.scored else "no class"
    return (zero, *result.classes)


def shares(matrix: np.ndarray) -> np.ndarray:
    """Each true label's pixels as shares.

    Args:
        matrix: (C, C) integers, row = true label.

    Returns:
        (C, C) float64; every row sums to 1, or is NaN where the label has no pixel.

    Example:
        >>> shares(np.array([[3, 1], [0, 2]])).tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    total = matrix.sum(1, keepdims=True)
    out = np.full(matrix.shape, np.nan)
    return np.divide(matrix, total, out=out, where=total > 0)


def pairs(result: RunResult) -> Any:
    """Every pair of a true label and a wrong one that its pixels got, the most pixels first.

    Args:
        result: The run.

    Returns:
        DataFrame: true, labelled as (names, see `label_names`), share (0..1 of the true label's
        scored pixels), pixels, and the label numbers truth and predicted.

    Raises:
        OvssError: The result was stored before confusions were kept.
    """
    import pandas as pd

    matrix = confusion(result)
    wrong = matrix - np.diag(np.diag(matrix))
    truth, predicted = np.nonzero(wrong)
    names = np.array(label_names(result), object)
    table = pd.DataFrame(
        {
            "true": names[truth],
            "labelled as": names[predicted],
            "share": shares(matrix)[truth, predicted],
            "pixels": wrong[truth, predicted],
            "truth": truth,
            "predicted": predicted,
        }
    )
    return table.sort_values("pixels", ascending=False, kind="stable", ignore_index=True)


def confusion(result: RunResult) -> np.ndarray:
    """The (C + 1, C + 1) confusion matrix of a run.

    Raises:
        OvssError: The result was stored before confusions were kept.
    """
    if result.confusion is None:
        raise OvssError("this result holds no confusion matrix; run it again")
    return result.confusion


def involved(table: Any) -> list[int]:
    """The labels of the first pairs: as many as a heat map can show legibly.

    Args:
        table: What `pairs` returned.

    Returns:
        At most `MOST_LABELS` label numbers, rising; whole pairs only.
    """
    labels: set[int] = set()
    for truth, predicted in zip(table["truth"], table["predicted"], strict=True):
        more = labels | {int(truth), int(predicted)}
        if len(more) > MOST_LABELS:
            break
        labels = more
    return sorted(labels)
