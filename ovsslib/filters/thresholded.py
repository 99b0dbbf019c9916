"""Class filters that give every class a probability, and the threshold that suits them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.filters.base import ClassFilter, Oracle

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset


class Scored(ClassFilter):
    """A filter that keeps the classes whose probability exceeds a threshold.

    Attributes:
        threshold: 0..1; None for the model's own.
        most: Classes per image.
    """

    threshold: float | None
    most: int

    @abstractmethod
    def scores(self, dataset: Dataset, name: str) -> np.ndarray:
        """(C,) float64 in 0..1: how sure the model is that each class is in the image."""

    @abstractmethod
    def own_threshold(self) -> float:
        """The threshold used where none is given."""

    @property
    def limit(self) -> float:
        """The threshold in use."""
        return self.own_threshold() if self.threshold is None else self.threshold

    @property
    def described(self) -> dict[str, Any]:
        """Threshold and number of classes, for results."""
        return {"threshold": self.limit, "most": self.most}

    def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
        """Labels of the classes above the threshold, at most `most`, in rising order."""
        scores = self.scores(dataset, name)
        best = np.argsort(-scores, kind="stable")[: self.most]
        return tuple(sorted(int(k) + 1 for k in best if scores[k] > self.limit))


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The threshold with the best F1 over all pairs of image and class.

    Args:
        scores: (B, C) in 0..1.
        truth: (B, C) bool, whether the class is in the image.

    Returns:
        The threshold, halfway between two scores and rounded to three digits where that makes no
        difference; and its F1 in 0..1.

    Example:
        >>> best_threshold(np.array([[0.9, 0.2], [0.4, 0.7]]), np.array([[1, 0], [0, 1]], bool))
        (0.55, 1.0)
    """
    order = np.argsort(-scores, axis=None, kind="stable")
    values, hits = scores.ravel()[order], truth.ravel()[order]
    f1 = 2 * np.cumsum(hits) / (np.arange(1, hits.size + 1) + max(1, int(hits.sum())))
    last = np.append(values[1:] < values[:-1], True)  # equal scores are kept together
    place = int(np.argmax(np.where(last, f1, -1)))
    below = float(values[place + 1]) if place + 1 < hits.size else 0.0
    middle = (float(values[place]) + below) / 2
    short = round(middle, 3)
    return (short if below <= short < values[place] else middle), float(f1[place])


def score_all(
    filter: Scored, dataset: Dataset, names: Iterable[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and truth of images, for `best_threshold`.

    Returns:
        (B, C) float64 in 0..1, and (B, C) bool.
    """
    oracle = Oracle()
    scores, truth = [], []
    for name in names:
        scores.append(filter.scores(dataset, name))
        truth.append(np.zeros(len(dataset.classes), bool))
        truth[-1][[k - 1 for k in oracle(dataset, name)]] = True
    return np.stack(scores), np.stack(truth)
