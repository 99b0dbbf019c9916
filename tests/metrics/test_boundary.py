"""Boundary IoU against erosion per class, the authors' definition, written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from ovsslib.errors import OvssError
from ovsslib.metrics import boundary
from ovsslib.metrics import iou as metrics
from ovsslib.metrics.counts import Counts, image_counts


def _blobs(seed: int, n: int, size: tuple[int, int], void: float = 0.0) -> np.ndarray:
    """Rectangles over each other, as label maps have them."""
    rng = np.random.default_rng(seed)
    out = np.zeros(size, np.uint8)
    for _ in range(3 * n):
        top, left = (int(rng.integers(0, side)) for side in size)
        high, wide = rng.integers(1, max(2, size[0] // 2), 2)
        out[top : top + high, left : left + wide] = rng.integers(n)
    out[rng.random(size) < void] = 255
    return out


def _by_erosion(labels: np.ndarray, truth: np.ndarray, n: int) -> Counts:
    """Per class: the mask less its erosion by a 3 x 3 square, d times; outside is 0."""
    void = truth == 255
    d = max(1, round(0.02 * (labels.shape[0] ** 2 + labels.shape[1] ** 2) ** 0.5))
    rows = []
    for k in range(n):
        rings = []
        for values in (labels, truth):
            mask = (values == k) & ~void
            inner = binary_erosion(mask | void, np.ones((3, 3)), iterations=d, border_value=0)
            rings.append(mask & ~inner)
        rows.append([(rings[0] & rings[1]).sum(), rings[0].sum(), rings[1].sum()])
    return Counts(*(column[None] for column in np.array(rows).T))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("void", [0.0, 0.02])
def test_counts_equal_erosion_per_class(seed: int, void: float) -> None:
    size = [(40, 60), (61, 33), (150, 200), (120, 7)][seed % 4]
    labels, truth = _blobs(seed, 5, size), _blobs(seed + 50, 5, size, void)
    found, expected = boundary.counts(labels, truth, 5), _by_erosion(labels, truth, 5)
    for name in ("intersection", "predicted", "truth"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
        assert getattr(found, name).dtype == np.int64


def test_a_right_answer_scores_one_whatever_it_says_on_void_pixels() -> None:
    truth = _blobs(3, 4, (50, 70), 0.05)
    answer = np.where(truth == 255, 2, truth)
    assert metrics.mean_iou(boundary.counts(answer, truth, 4)) == 1.0


def test_a_coarse_outline_costs_more_than_in_plain_iou() -> None:
    truth = np.zeros((200, 200), np.uint8)
    truth[40:160, 40:160] = 1
    coarse = np.zeros_like(truth)
    coarse[45:155, 45:155] = 1
    plain = metrics.mean_iou(image_counts(coarse, truth, 2), [1])
    near = metrics.mean_iou(boundary.counts(coarse, truth, 2), [1])
    assert plain > 0.8
    assert near < 0.15


def test_void_may_be_switched_off() -> None:
    truth = np.array([[0, 0, 1]])
    assert boundary.counts(truth, truth, 2, ignore=None).truth.tolist() == [[2, 1]]


def test_labels_are_not_changed() -> None:
    truth = _blobs(1, 3, (20, 20), 0.1)
    before = truth.copy()
    boundary.counts(np.zeros_like(truth), truth, 3)
    assert (truth == before).all()


@pytest.mark.parametrize(
    ("labels", "truth", "words"),
    [
        (np.zeros((2, 2), int), np.zeros((3, 2), int), "must be one"),
        (np.full((2, 2), 5), np.zeros((2, 2), int), "prediction lies outside"),
        (np.zeros((2, 2), int), np.full((2, 2), 9), "label lies outside"),
    ],
)
def test_wrong_label_maps(labels: np.ndarray, truth: np.ndarray, words: str) -> None:
    with pytest.raises(OvssError, match=words):
        boundary.counts(labels, truth, 3)
