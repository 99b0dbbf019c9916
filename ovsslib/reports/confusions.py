"""Which classes are taken for which: the off-diagonal part of a run's confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from ovsslib.evaluate.result import RunResult


def label_names(result: RunResult) -> tuple[str, ...]:
    """What to call each label of a run in a table, label 0 by what it stands for.

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


def pairs(result: RunResult, *, by: Literal["pixels", "share"] = "pixels") -> Any:
    """Every pair of a true label and another that its pixels got, the most frequent first.

    Args:
        result: The run.
        by: Order by pixels, or by the share of the true label's pixels.

    Returns:
        DataFrame: true, labelled as (names, see `label_names`), share (0..1 of the true label's
        scored pixels), pixels, and the label numbers truth and predicted.

    Raises:
        OvssError: The result is older than confusions, or `by` is unknown.
    """
    import pandas as pd

    if by not in ("pixels", "share"):
        raise OvssError(f"pairs can be ordered by 'pixels' or 'share', not {by!r}")
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
    return table.sort_values(by, ascending=False, kind="stable", ignore_index=True)


def confusion(result: RunResult) -> np.ndarray:
    """The (C + 1, C + 1) confusion matrix of a run.

    Raises:
        OvssError: The result is older than confusions.
    """
    if result.confusion is None:
        raise OvssError("this result holds no confusion matrix; run it again")
    return result.confusion


def involved(table: Any, most: int = 12) -> list[int]:
    """The labels of the first pairs, so many that a heat map of them can be read.

    Args:
        table: What `pairs` returned.
        most: Labels.

    Returns:
        At most `most` label numbers, rising; whole pairs only.
    """
    labels: set[int] = set()
    for truth, predicted in zip(table["truth"], table["predicted"], strict=True):
        more = labels | {int(truth), int(predicted)}
        if len(more) > most:
            break
        labels = more
    return sorted(labels)
