"""Integer counts: from confusion matrices, stacked, of some images; tallies and their sums."""

from __future__ import annotations

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.metrics import boundary
from ovsslib.metrics.counts import (
    COUNT_NAMES,
    Counts,
    Ledger,
    Tally,
    confusion_matrix,
    counts_from_confusion,
    image_counts,
)
from ovsslib.protocols.protocol import get_protocol

PRED, TRUTH = np.array([[0, 1, 1, 2]]), np.array([[0, 1, 2, 255]])


def test_rows_are_true_columns_are_said() -> None:
    assert confusion_matrix(PRED, TRUTH, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_without_a_void_label_every_pixel_counts() -> None:
    assert confusion_matrix(PRED, np.array([[0, 1, 2, 2]]), 3, ignore=None).sum() == 4


@pytest.mark.parametrize("pred_type", ["uint8", "int16", "int64", "uint64"])
@pytest.mark.parametrize("label_type", ["uint8", "int32", ">i2"])
@pytest.mark.parametrize(("n", "ignore"), [(172, 255), (256, 0), (300, 255), (5, None), (6, 2)])
def test_every_type_is_counted_pixel_by_pixel(
    pred_type: str, label_type: str, n: int, ignore: int | None
) -> None:
    draw = np.random.default_rng(n)
    top = min(n, 256)
    pred = draw.integers(0, top, (37, 23)).astype(pred_type)
    label = draw.integers(0, top, (37, 23)).astype(label_type)
    if ignore is not None:
        label[draw.random(label.shape) < 0.2] = ignore
    expected = np.zeros((n, n), np.int64)
    for true, said in zip(label.ravel().tolist(), pred.ravel().tolist(), strict=True):
        expected[true % n, said] += true != ignore
    found = confusion_matrix(pred, label, n, ignore=ignore)
    assert found.dtype == np.int64
    assert (found == expected).all()


def test_labels_beyond_a_byte() -> None:
    pred, label = np.array([300, 2, -1]), np.array([300, 299, 1000])
    found = confusion_matrix(pred, label, 301, ignore=1000)
    assert found.sum() == 2
    assert found[300, 300] == found[299, 2] == 1


@pytest.mark.parametrize("kind", ["uint8", "int64"])
def test_at_void_a_prediction_may_be_anything(kind: str) -> None:
    pred = np.array([1, 200 if kind == "uint8" else -5]).astype(kind)
    assert confusion_matrix(pred, np.array([1, 255]), 2).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("kind", ["uint8", "int64"])
@pytest.mark.parametrize(
    ("pred", "label", "words"),
    [
        ([7, 3, 0], [0, 0, 0], "a prediction holds 7, outside the classes 0..2"),
        ([7, 0, 0], [9, 0, 255], "a label holds 9, outside the classes 0..2"),
        ([0, 0, 0], [254, 9, 0], "a label holds 254, outside the classes 0..2"),
    ],
)
def test_the_value_outside_is_named(kind: str, pred: list, label: list, words: str) -> None:
    for wide in (np.array(pred).astype(kind), np.array(pred, np.float64)):
        with pytest.raises(OvssError, match=words):
            confusion_matrix(wide, np.array(label).astype(kind), 3)


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


RNG = np.random.default_rng(0)
TRUE_LABELS = RNG.integers(0, 5, (12, 16)).astype(np.uint8)
TRUE_LABELS[3] = 255
LABELS = RNG.integers(-1, 2, (12, 16)).astype(np.int16)
LOOKED_FOR = (4, 2)


def equal(one: Tally, other: Tally) -> bool:
    areas = [(one.counts, other.counts), (one.boundary, other.boundary)]
    pairs = [(getattr(a, n), getattr(b, n)) for a, b in areas for n in COUNT_NAMES]
    return all(np.array_equal(a, b) for a, b in [*pairs, (one.confusion, other.confusion)])


def test_a_tally_is_the_protocols_areas_boundaries_and_pairs() -> None:
    protocol = get_protocol("pnp-fixed")
    tally = protocol.tally(LABELS, LOOKED_FOR, TRUE_LABELS, 4)
    prediction = np.array([0, 4, 2])[LABELS + 1]
    assert np.array_equal(tally.confusion, confusion_matrix(prediction, TRUE_LABELS, 5))
    near = boundary.counts(prediction, TRUE_LABELS, 5, ignore=255)
    assert equal(tally, Tally(image_counts(prediction, TRUE_LABELS, 5), near, tally.confusion))
    assert tally.confusion.sum() == (TRUE_LABELS != 255).sum()
    as_released = get_protocol("pnp").tally(LABELS, LOOKED_FOR, TRUE_LABELS, 4)
    assert as_released.confusion.sum() == TRUE_LABELS.size, "void counts as background there"


def test_a_ledger_keeps_the_order_and_sums_the_pairs() -> None:
    protocol, ledger = get_protocol("pnp-fixed"), Ledger(5)
    assert ledger.total.counts.truth.shape == (0, 5)
    parts = [protocol.tally(np.roll(LABELS, k, 1), LOOKED_FOR, TRUE_LABELS, 4) for k in range(3)]
    for name, part in zip("cab", parts, strict=True):
        ledger.add(name, part)
    assert ledger.ids == ["c", "a", "b"]
    assert equal(ledger.total, Tally.stack(parts, 5))
    assert np.array_equal(ledger.total.confusion, sum(part.confusion for part in parts))
    for row, part in enumerate(parts):
        assert np.array_equal(ledger.total.counts.predicted[row], part.counts.predicted[0])
