"""Integer counts: from confusion matrices, stacked, of some pictures."""

from __future__ import annotations

import numpy as np

from ovsslib.counts import Counts, confusion_matrix, counts_from_confusion, image_counts

PRED, TRUTH = np.array([[0, 1, 1, 2]]), np.array([[0, 1, 2, 255]])


def test_rows_are_true_columns_are_said() -> None:
    assert confusion_matrix(PRED, TRUTH, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_without_a_void_label_every_pixel_counts() -> None:
    assert confusion_matrix(PRED, np.array([[0, 1, 2, 2]]), 3, ignore=None).sum() == 4


def test_counts_of_one_picture() -> None:
    counts = image_counts(PRED, TRUTH, 3)
    assert counts.intersection.tolist() == [[1, 1, 0]]
    assert counts.predicted.tolist() == [[1, 2, 0]]
    assert counts.truth.tolist() == [[1, 1, 1]]
    assert all(a.dtype == np.int64 for a in (counts.intersection, counts.predicted, counts.truth))


def test_stack_and_take() -> None:
    one, two = image_counts(PRED, TRUTH, 3), image_counts(TRUTH % 255, TRUTH, 3)
    both = Counts.stack([one, two])
    assert len(both) == 2
    assert (both.take(slice(1, 2)).truth == two.truth).all()
    assert (both.take(np.array([0, 0])).predicted == np.concatenate([one.predicted] * 2)).all()


def test_the_diagonal_is_copied() -> None:
    matrix = confusion_matrix(PRED, TRUTH, 3)
    counts = counts_from_confusion(matrix)
    counts.intersection[0, 0] = 99
    assert matrix[0, 0] == 1


def test_counts_of_billions_do_not_overflow() -> None:
    big = np.full((1, 2), 2**40, np.int64)
    stacked = Counts.stack([Counts(big, big, big)] * 4)
    assert stacked.truth.sum(0).tolist() == [2**42] * 2
