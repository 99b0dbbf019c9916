"""Where the error is: one answer scored several ways, each with one part of the task done for it.

- `"plain"`: the answer as it is;
- `"perfect regions"`: the regions are the true ones; each gets the label that most of its pixels
  have in the answer, so that what is wrong is the name;
- `"perfect names"`: the regions are the answer's; each gets the label that most of its pixels truly
  have, so that what is wrong is the region.

A region is a set of pixels of one label that touch at an edge or a corner. The other oracle, a
perfect class filter, is the filter `oracle`: a pass of its own. These rows read the ground truth;
they explain a figure and never belong beside one in a ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ovsslib.errors import OvssError
from ovsslib.metrics import boundary
from ovsslib.metrics.counts import Counts, Tally, confusion_matrix, counts_from_confusion
from ovsslib.metrics.iou import Interval, over_images, resample_weights

if TYPE_CHECKING:
    from ovsslib.protocols.protocol import Protocol

ROWS = ("plain", "perfect regions", "perfect names")
"""The ways in which an answer is scored."""
_TOUCHING = np.ones((3, 3), bool)


def regions(labels: np.ndarray, void: np.ndarray | None = None) -> np.ndarray:
    """Number the regions of a label map.

    Args:
        labels: (H, W) integers.
        void: (H, W) bool, pixels that are in no region; None for none.

    Returns:
        (H, W) int64: 0 to R - 1, and -1 where void.

    Example:
        >>> regions(np.array([[1, 1, 0], [0, 0, 1], [2, 0, 1]])).tolist()
        [[1, 1, 0], [0, 0, 1], [2, 0, 1]]
    """
    there = np.ones(labels.shape, bool) if void is None else ~void
    out, count = np.full(labels.shape, -1, np.int64), 0
    for label in np.unique(labels[there]):
        numbered, found = ndimage.label((labels == label) & there, structure=_TOUCHING)
        inside = numbered > 0
        out[inside] = numbered[inside] - 1 + count
        count += found
    return out


def majority(values: np.ndarray, parts: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Give each region the value that most of its pixels have.

    Args:
        values: (H, W) integers from 0 up.
        parts: (H, W) numbers of regions from 0 up, -1 for pixels in none.
        scored: (H, W) bool, pixels that have a say.

    Returns:
        (H, W) int64; of two values as frequent the smaller, -1 where no pixel of the region has a
        say, and in no region.

    Example:
        >>> values, parts = np.array([[3, 3, 1, 2]]), np.array([[0, 0, 0, 1]])
        >>> majority(values, parts, values != 2).tolist()
        [[3, 3, 3, -1]]
    """
    use = scored & (parts >= 0)
    n = int(parts.max(initial=-1)) + 1
    if not use.any():
        return np.full(values.shape, -1, np.int64)
    kinds, column = np.unique(values[use], return_inverse=True)
    votes = np.bincount(parts[use] * len(kinds) + column.ravel(), minlength=n * len(kinds))
    votes = votes.reshape(n, len(kinds))
    winner = np.where(votes.any(1), kinds[votes.argmax(1)], -1)
    return np.where(parts >= 0, winner[parts], -1)


def perfect_regions(answer: np.ndarray, truth: np.ndarray, ignore: int | None = 255) -> np.ndarray:
    """The answer on the true regions.

    Args:
        answer: (H, W) labels.
        truth: (H, W) labels, or `ignore` where a pixel is not scored.
        ignore: The label of void pixels, or None when there are none.

    Returns:
        (H, W) int64: the most frequent answer within each true region, background's included; void
        pixels keep their answer.

    Raises:
        OvssError: Shapes differ.
    """
    void = _void(answer, truth, ignore)
    chosen = majority(answer, regions(truth, void), ~void)
    return np.where(void, answer, chosen)


def perfect_names(answer: np.ndarray, truth: np.ndarray, ignore: int | None = 255) -> np.ndarray:
    """The answer's regions with true names; arguments and errors as in `perfect_regions`.

    Returns:
        (H, W) int64: the most frequent true label within each region of the answer, void pixels
        aside; a region that is void all over keeps its answer.
    """
    void = _void(answer, truth, ignore)
    chosen = majority(truth, regions(answer), ~void)
    return np.where(chosen < 0, answer, chosen)


def _void(answer: np.ndarray, truth: np.ndarray, ignore: int | None) -> np.ndarray:
    """(H, W) bool: pixels that are not scored."""
    if answer.shape != truth.shape:
        raise OvssError(f"answer {answer.shape} and ground truth {truth.shape} differ in shape")
    return np.zeros(truth.shape, bool) if ignore is None else truth == ignore


def tallies(
    protocol: Protocol,
    labels: np.ndarray,
    looked_for: Sequence[int],
    truth: np.ndarray,
    n: int,
) -> dict[str, Tally]:
    """Count one image in every way; arguments and errors as in `Protocol.tally`.

    Returns:
        Row of `ROWS` -> a tally of one image over n + 1 labels, background first.
    """
    answer, true, ignore = protocol.compared(labels, looked_for, truth)
    answers = {
        "plain": answer,
        "perfect regions": perfect_regions(answer, true, ignore),
        "perfect names": perfect_names(answer, true, ignore),
    }
    found = {}
    for row, each in answers.items():
        matrix = confusion_matrix(each, true, n + 1, ignore=ignore)
        near = boundary.counts(each, true, n + 1, ignore=ignore)
        found[row] = Tally(counts_from_confusion(matrix), near, matrix)
    return found


def background_share(counts: Counts) -> float:
    """Share of the object pixels that are labelled background; NaN without object pixels.

    Args:
        counts: Of B images, background first; object pixels are those of all other labels.

    Example:
        >>> one = Counts(*(np.array([row]) for row in ([2, 5], [5, 5], [2, 8])))
        >>> background_share(one)
        0.375
    """
    lost, objects = _lost(counts)
    return float(lost.sum() / objects.sum()) if objects.sum() else float("nan")


def background_interval(
    counts: Counts, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """`background_share` with its percentile interval over images.

    Args:
        counts: As there.
        level: Coverage, 0..1.
        resamples: Number of resamples.
        seed: Of the resamples.
    """
    value = background_share(counts)
    if np.isnan(value):
        return Interval(value, value, value)
    lost, objects = _lost(counts)
    weights = resample_weights(len(counts), resamples=resamples, seed=seed)
    total = weights @ objects
    with np.errstate(invalid="ignore"):
        return over_images(value, (weights @ lost) / total, level=level)


def _lost(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Of each image (B,): object pixels labelled background, and all object pixels."""
    lost: np.ndarray = counts.predicted[:, 0] - counts.intersection[:, 0]
    return lost, counts.truth[:, 1:].sum(1)
