"""Class filters that give every class a probability, and the threshold that suits them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.filters.base import ClassFilter, Oracle, as_row
from ovsslib.vlm.finite import check_scores

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset

TUNED = {"micro-blip": 0.658, "micro-bridgetower": 0.672, "micro-clip": 0.118}
"""Model -> threshold with the best F1 on Diorama's tune split (`ovss filter tune`)."""
UNTUNED = 0.5
"""Threshold for other models: the class is likelier there than not."""


class ThresholdedFilter(ClassFilter):
    """A filter that keeps the classes whose probability exceeds a threshold.

    Attributes:
        threshold: 0..1; None for `TUNED`, or `UNTUNED` for models not in it.
        most: Most classes per image.
    """

    threshold: float | None
    most: int

    @property
    @abstractmethod
    def label(self) -> str:
        """The model's name, without the folder it lies in."""

    @abstractmethod
    def scores(self, dataset: Dataset, name: str) -> np.ndarray:
        """(C,) float64 in 0..1: how sure the model is that each class is in the image."""

    def checked_scores(self, dataset: Dataset, name: str) -> np.ndarray:
        """The same; an `OvssError` names the image where they are not finite."""
        scores = self.scores(dataset, name)
        check_scores(scores, f"{name}: {self.label}")
        return scores

    @property
    def limit(self) -> float:
        """The threshold in use."""
        return TUNED.get(self.label, UNTUNED) if self.threshold is None else self.threshold

    @property
    def described(self) -> dict[str, Any]:
        """Model, threshold and number of classes."""
        return {"model": self.label, "threshold": self.limit, "most": self.most}

    def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
        """Labels of the classes above the threshold, at most `most`."""
        scores = self.checked_scores(dataset, name)
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
    last = np.append(values[1:] < values[:-1], True)  # equal scores are on the same side
    best = int(np.argmax(np.where(last, f1, -1)))
    below = float(values[best + 1]) if best + 1 < hits.size else 0.0
    middle = (float(values[best]) + below) / 2
    short = round(middle, 3)
    return (short if below <= short < values[best] else middle), float(f1[best])


def score_all(
    class_filter: ThresholdedFilter, dataset: Dataset, names: Iterable[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and truth of images, for `best_threshold`.

    Returns:
        (B, C) float64 in 0..1, and (B, C) bool.
    """
    oracle = Oracle()
    pairs = [
        (class_filter.checked_scores(dataset, name), as_row(oracle(dataset, name), dataset))
        for name in names
    ]
    scores, truth = (np.stack(rows) for rows in zip(*pairs, strict=True))
    return scores, truth
