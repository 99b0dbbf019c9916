"""What is counted of images: areas, boundaries and confusions, all integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ovsslib.metrics import boundary
from ovsslib.metrics.counts import Counts, confusion_matrix, counts_from_confusion

if TYPE_CHECKING:
    from ovsslib.protocols.protocol import Protocol


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


def tally(
    protocol: Protocol, labels: np.ndarray, looked_for: Sequence[int], truth: np.ndarray, n: int
) -> Tally:
    """Count one image under a protocol.

    Args:
        protocol: Says what is compared with what.
        labels: (H, W) integers into `looked_for`, -1 for background.
        looked_for: Data-set label of each name the method was given.
        truth: (H, W) data-set labels.
        n: Number of the data set's classes, without background.

    Returns:
        A tally of one image over n + 1 labels.

    Raises:
        OvssError: Shapes differ or a label is out of range.
    """
    said, true, ignore = protocol.compared(labels, looked_for, truth)
    matrix = confusion_matrix(said, true, n + 1, ignore=ignore)
    near = boundary.counts(said, true, n + 1, ignore=ignore)
    return Tally(counts_from_confusion(matrix), near, matrix)


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

    def add(self, name: str, found: Tally) -> None:
        """Enter one image."""
        self.ids.append(name)
        self._parts.append((found.counts, found.boundary))
        before = 0 if self._confusion is None else self._confusion
        self._confusion = before + found.confusion

    @property
    def total(self) -> Tally:
        """All images so far, in the order they were entered."""
        empty = np.zeros((self.labels, self.labels), np.int64)
        parts = [Tally(area, near, empty) for area, near in self._parts]
        found = Tally.stack(parts, self.labels)
        return (
            found
            if self._confusion is None
            else Tally(found.counts, found.boundary, self._confusion)
        )
