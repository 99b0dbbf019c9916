"""Integer pixel counts per image and class, which every figure is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ovsslib.errors import OvssError

COUNT_NAMES = ("intersection", "predicted", "truth")
_SMALL = 256  # two values below it fit into 16 bits


@dataclass(frozen=True)
class Counts:
    """Pixels per image and class, background first.

    Attributes:
        intersection: (B, C) int64, predicted as the class and truly of it.
        predicted: (B, C) int64, predicted as the class (void pixels left out).
        truth: (B, C) int64, truly of the class.
    """

    intersection: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.intersection)

    def take(self, images: np.ndarray | slice) -> Counts:
        """The counts of some images."""
        return Counts(self.intersection[images], self.predicted[images], self.truth[images])

    @staticmethod
    def stack(parts: Sequence[Counts]) -> Counts:
        """Counts of all images of all parts, in order."""
        return Counts(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in COUNT_NAMES)
        )


def confusion_matrix(
    pred: np.ndarray, label: np.ndarray, n: int, *, ignore: int | None = 255
) -> np.ndarray:
    """Pixels of every pair (true class, predicted class).

    Args:
        pred: (H, W) integers 0..n-1 (any shape).
        label: Same shape, 0..n-1, or `ignore` where a pixel is not scored.
        n: Number of classes, background included.
        ignore: The label of void pixels, or None when there are none.

    Returns:
        (n, n) int64; row = true class, column = predicted class.

    Raises:
        OvssError: Shapes differ, or a value is outside its range.

    Example:
        >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 255]), 2).tolist()
        [[1, 0], [0, 1]]
    """
    pred, label = np.asarray(pred), np.asarray(label)
    if pred.shape != label.shape:
        raise OvssError(f"prediction {pred.shape} and label {label.shape} differ in shape")
    if not (_is_small(label) and _is_small(pred) and n <= _SMALL):
        return _checked_counts(pred, label, n, ignore)
    # One histogram of 16-bit pairs, range checks on it instead of on the pixels.
    pairs = label.astype(np.uint16)
    pairs <<= 8
    pairs |= pred.astype(np.uint8)
    table = np.bincount(pairs.ravel(), minlength=_SMALL * _SMALL).reshape(_SMALL, _SMALL)
    if ignore is not None and 0 <= ignore < _SMALL:
        table[ignore] = 0
    _refuse(table[n:].sum(1), "label", n)
    _refuse(table[:n, n:].sum(0), "prediction", n)
    return table[:n, :n].copy()


def _is_small(values: np.ndarray) -> bool:
    """Whether all values are integers from 0 to 255; a glance at the type may do."""
    if values.dtype in (np.uint8, np.bool_):
        return True
    if values.dtype.kind not in "iu":
        return False
    return not values.size or bool(values.min() >= 0 and values.max() < _SMALL)


def _refuse(beyond: np.ndarray, name: str, n: int) -> None:
    """Raise if a value from `n` up occurs; `beyond[i]` says how often `n + i` does."""
    if beyond.any():
        raise _outside(name, n + int(np.flatnonzero(beyond)[-1]), n)


def _outside(name: str, bad: int, n: int) -> OvssError:
    return OvssError(f"a {name} holds {bad}, outside the classes 0..{n - 1}")


def _checked_counts(pred: np.ndarray, label: np.ndarray, n: int, ignore: int | None) -> np.ndarray:
    """`confusion_matrix` for any values: predictions at void pixels may be what they like."""
    keep = np.ones(label.shape, bool) if ignore is None else label != ignore
    true, predicted = label[keep].astype(np.int64), pred[keep].astype(np.int64)
    for name, values in (("label", true), ("prediction", predicted)):
        if values.size and (values.min() < 0 or values.max() >= n):
            raise _outside(name, int(values.min() if values.min() < 0 else values.max()), n)
    return np.bincount(true * n + predicted, minlength=n * n).reshape(n, n)


def image_counts(
    pred: np.ndarray, label: np.ndarray, n: int, *, ignore: int | None = 255
) -> Counts:
    """The integers of one image, as `Counts` of length 1 (arguments as `confusion_matrix`)."""
    return counts_from_confusion(confusion_matrix(pred, label, n, ignore=ignore)[None])


def counts_from_confusion(matrix: np.ndarray) -> Counts:
    """Counts of confusion matrices.

    Args:
        matrix: (B, C, C) or (C, C) int64, row = true class.

    Returns:
        Counts of B images (1 for a single matrix).
    """
    matrix = matrix[None] if matrix.ndim == 2 else matrix
    return Counts(np.einsum("bcc->bc", matrix).copy(), matrix.sum(1), matrix.sum(2))


@dataclass(frozen=True)
class Tally:
    """Counts of B images over C labels, background first.

    Attributes:
        counts: Pixels of each image.
        boundary: Pixels near contours of each image (`ovsslib.metrics.boundary`).
        confusion: (C, C) int64 of all images together, row = true label.
    """

    counts: Counts
    boundary: Counts
    confusion: np.ndarray

    @staticmethod
    def stack(parts: Sequence[Tally], labels: int) -> Tally:
        """The tally of all images of all parts, in order; of none, where there is no part."""
        none = np.zeros((0, labels), np.int64)
        nothing = Counts(none, none, none)
        return Tally(
            Counts.stack([nothing, *(part.counts for part in parts)]),
            Counts.stack([nothing, *(part.boundary for part in parts)]),
            sum((part.confusion for part in parts), np.zeros((labels, labels), np.int64)),
        )


@dataclass
class Ledger:
    """Tallies of images as they come in; confusions are summed at once, not kept.

    Attributes:
        labels: Number of labels, background included.
    """

    labels: int
    ids: list[str] = field(default_factory=list)
    _parts: list[tuple[Counts, Counts]] = field(default_factory=list)
    _confusion: np.ndarray | None = None

    def add(self, name: str, tally: Tally) -> None:
        """Enter one image."""
        self.ids.append(name)
        self._parts.append((tally.counts, tally.boundary))
        before = 0 if self._confusion is None else self._confusion
        self._confusion = before + tally.confusion

    @property
    def total(self) -> Tally:
        """All images so far, in the order they were entered."""
        empty = np.zeros((self.labels, self.labels), np.int64)
        total = Tally.stack([Tally(area, near, empty) for area, near in self._parts], self.labels)
        confusion = total.confusion if self._confusion is None else self._confusion
        return Tally(total.counts, total.boundary, confusion)
