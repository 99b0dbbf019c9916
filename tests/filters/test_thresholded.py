"""Filters with a probability per class, and their thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.base import Dataset
from ovsslib.filters.base import Oracle
from ovsslib.filters.thresholded import ThresholdedFilter, best_threshold, score_all
from support.helpers import write_voc


class Fixed(ThresholdedFilter):
    """Scores given beforehand."""

    def __init__(self, row: list[float], threshold: float | None = None, most: int = 25) -> None:
        self.row, self.threshold, self.most = row, threshold, most

    def scores(self, dataset: Dataset, name: str) -> np.ndarray:
        return np.array(self.row)

    @property
    def label(self) -> str:
        return "fixed"


def test_what_is_kept(tmp_path: Path) -> None:
    row = [0.2, 0.9, 0.5, 0.6, 0.9]
    assert Fixed(row)(None, "x") == (2, 4, 5)
    assert Fixed(row, 0.0)(None, "x") == (1, 2, 3, 4, 5)
    assert Fixed(row, 0.95)(None, "x") == ()
    assert Fixed(row, most=2)(None, "x") == (2, 5)
    assert Fixed(row, 0.4, 3).described == {"model": "fixed", "threshold": 0.4, "most": 3}
    assert Fixed(row).described["threshold"] == 0.5


def test_the_best_threshold_by_trying_all() -> None:
    rng = np.random.default_rng(3)
    scores = rng.random((30, 7)).round(2)  # with ties
    truth = rng.random((30, 7)) < scores

    def f1(threshold: float) -> float:
        kept = scores > threshold
        return 2 * (kept & truth).sum() / (kept.sum() + truth.sum())

    threshold, best = best_threshold(scores, truth)
    assert best == pytest.approx(f1(threshold))
    assert best == pytest.approx(max(f1(t) for t in np.linspace(0, 1, 1001)))


def test_nothing_true_or_everything() -> None:
    assert best_threshold(np.array([[0.5, 0.6]]), np.zeros((1, 2), bool))[1] == 0
    threshold, best = best_threshold(np.array([[0.5, 0.6]]), np.ones((1, 2), bool))
    assert (threshold < 0.5, best) == (True, 1.0)


def test_scores_and_truth_of_images(tmp_path: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path, 3))
    row = list(np.linspace(0, 1, 20))
    scores, truth = score_all(Fixed(row), data, data.ids)
    assert scores.shape == truth.shape == (3, 20)
    assert tuple(np.flatnonzero(truth[1]) + 1) == Oracle()(data, "img_0001")
