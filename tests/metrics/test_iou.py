"""IoU, precision, recall and bootstrap against hand-made cases and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from ovsslib.errors import OvssError
from ovsslib.metrics import iou as metrics
from ovsslib.metrics.counts import Counts, confusion_matrix, image_counts
from ovsslib.metrics.iou import mean_iou
from support.results import make_result


def _random(seed: int, n: int = 5, *, images: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n, (images, 9, 11))
    pred = np.where(rng.random(label.shape) < 0.6, label, rng.integers(0, n, label.shape))
    return pred, label


def _counts(pred: np.ndarray, label: np.ndarray, n: int) -> Counts:
    return Counts.stack([image_counts(p, t, n) for p, t in zip(pred, label, strict=True)])


@pytest.mark.parametrize("seed", range(8))
def test_macro_iou_equals_torchmetrics(seed: int) -> None:
    n = 6
    pred, label = _random(seed, n)
    if seed % 2:  # a class without ground truth but with false positives, and one in neither
        label = np.where(label == 3, 1, label)
        label, pred = np.where(label == 5, 0, label), np.where(pred == 5, 0, pred)
    label[np.random.default_rng(seed).random(label.shape) < 0.1] = 255
    expected = multiclass_jaccard_index(
        torch.tensor(pred), torch.tensor(label), n, average="macro", ignore_index=255
    )
    assert mean_iou(_counts(pred, label, n)) == pytest.approx(float(expected), abs=1e-6)
    per_class = multiclass_jaccard_index(
        torch.tensor(pred), torch.tensor(label), n, average="none", ignore_index=255
    ).numpy()
    ours = metrics.iou(_counts(pred, label, n))
    assert np.nan_to_num(ours) == pytest.approx(per_class, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("background", [True, False])
def test_both_absent_class_conventions_equal_torchmetrics(seed: int, background: bool) -> None:
    """Class 3 is predicted and never true, class 5 neither: both are 0 to torchmetrics.

    "count" is torchmetrics' own mean; "drop" the mean of its values over the true classes.
    """
    n = 7
    pred, label = _random(seed, n)
    label = np.where(np.isin(label, (3, 5)), 1, label)
    pred = np.where(pred == 5, 0, pred)
    label[np.random.default_rng(seed).random(label.shape) < 0.1] = 255
    each = multiclass_jaccard_index(
        torch.tensor(pred), torch.tensor(label), n, average="none", ignore_index=255
    ).numpy()
    scored = range(0 if background else 1, n)
    counts = _counts(pred, label, n)
    scored_pred = pred[label != 255]
    present = {
        "count": [k for k in scored if k in label or k in scored_pred],
        "drop": [k for k in scored if k in label],
    }
    assert 3 in present["count"]
    assert len(present["drop"]) == len(present["count"]) - 1
    for absent, classes in present.items():
        found = mean_iou(counts, scored, absent=absent)
        assert found == pytest.approx(float(each[classes].mean()), abs=1e-6)


def test_absent_class_conventions() -> None:
    """Class 1 is predicted but never true, class 2 is in neither: 4 of 5 pixels of class 0 hit."""
    pred, label = np.array([[0, 0, 0, 0, 1]]), np.zeros((1, 5), int)
    counts = image_counts(pred, label, 3)
    assert metrics.iou(counts, absent="count").tolist()[:2] == [0.8, 0.0]
    assert mean_iou(counts, absent="count") == pytest.approx(0.4)
    assert mean_iou(counts, absent="drop") == pytest.approx(0.8)
    assert np.isnan(metrics.iou(counts, absent="count")[2])
    assert np.isnan(mean_iou(counts, [2]))
    with pytest.raises(OvssError, match="'count' or 'drop'"):
        metrics.iou(counts, absent="skip")  # type: ignore[arg-type]


def test_void_is_not_scored() -> None:
    label = np.array([[0, 1, 255, 255]])
    matrix = confusion_matrix(np.array([[0, 1, 0, 1]]), label, 2)
    assert matrix.tolist() == [[1, 0], [0, 1]]
    assert matrix.dtype == np.int64


@pytest.mark.parametrize(
    ("pred", "label", "words"),
    [
        ([[0]], [[0, 1]], "differ in shape"),
        ([[3]], [[0]], "prediction holds 3"),
        ([[0]], [[7]], "label holds 7"),
        ([[-1]], [[0]], "prediction holds -1"),
    ],
)
def test_wrong_input(pred: list, label: list, words: str) -> None:
    with pytest.raises(OvssError, match=words):
        confusion_matrix(np.array(pred), np.array(label), 3)


def test_precision_recall_accuracy_by_hand() -> None:
    #             truth:  0 0 0 1 1 1;  said: 0 0 1 1 1 0
    counts = image_counts(np.array([[0, 0, 1, 1, 1, 0]]), np.array([[0, 0, 0, 1, 1, 1]]), 3)
    assert metrics.precision(counts)[:2].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert metrics.recall(counts)[:2].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert np.isnan(metrics.precision(counts)[2])
    assert np.isnan(metrics.recall(counts)[2])
    assert metrics.pixel_accuracy(counts) == pytest.approx(4 / 6)
    assert metrics.iou(counts)[:2].tolist() == pytest.approx([0.5, 0.5])


def test_counts_add_up_to_the_confusion_matrix() -> None:
    pred, label = _random(1)
    whole = confusion_matrix(pred, label, 5)
    summed = sum(confusion_matrix(p, t, 5) for p, t in zip(pred, label, strict=True))
    assert (whole == summed).all()
    assert metrics.iou_from_confusion(whole) == pytest.approx(metrics.iou(_counts(pred, label, 5)))


def test_order_of_images_does_not_matter() -> None:
    counts = _counts(*_random(2), 5)
    shuffled = counts.take(np.random.default_rng(0).permutation(len(counts)))
    assert mean_iou(counts) == mean_iou(shuffled)


def test_bootstrap_is_deterministic_and_exact() -> None:
    counts = _counts(*_random(3, images=12), 5)
    first = metrics.interval(counts, [1, 2, 3, 4], seed=7)
    assert first == metrics.interval(counts, [1, 2, 3, 4], seed=7)
    assert first != metrics.interval(counts, [1, 2, 3, 4], seed=8)
    assert first.low < first.value < first.high
    # The same resamples, drawn image by image.
    weights = metrics.resample_weights(12, resamples=200, seed=7)
    slow = [mean_iou(counts.take(np.repeat(np.arange(12), row)), [1, 2, 3, 4]) for row in weights]
    quick = metrics.interval(counts, [1, 2, 3, 4], seed=7, resamples=200, level=0.9)
    assert (quick.low, quick.high) == pytest.approx(tuple(np.percentile(slow, [5, 95])), abs=1e-12)


def test_bootstrap_covers_the_truth() -> None:
    """Of 100 samples of 40 images, the 90 % interval holds the population's figure in about 90."""
    rng = np.random.default_rng(0)
    truth = np.full((20_000, 2), 100)
    hits = np.stack([rng.binomial(100, rng.beta(4, 2, 20_000)) for _ in range(2)], 1)
    everything = Counts(hits, hits, truth)
    value, held = mean_iou(everything), 0
    for _ in range(100):
        sample = everything.take(rng.integers(0, 20_000, 40))
        got = metrics.interval(sample, level=0.9, resamples=300)
        held += got.low <= value <= got.high
    assert 80 <= held <= 98


def test_paired_interval_is_narrower_than_the_difference_of_two() -> None:
    rng = np.random.default_rng(0)
    hard = rng.integers(10, 90, (60, 3))
    truth = np.full((60, 3), 100)
    base = Counts(hard, hard, truth)
    better = Counts(hard + 2, hard + 2, truth)
    difference = metrics.paired_interval(better, base)
    assert difference.value == pytest.approx(0.02)
    assert difference.low > 0
    assert difference.high - difference.low < 1e-9
    alone = metrics.interval(base)
    assert alone.high - alone.low > 0.02


def test_paired_interval_of_a_run_with_itself_is_zero() -> None:
    counts = _counts(*_random(4), 5)
    assert metrics.paired_interval(counts, counts) == metrics.Interval(0.0, 0.0, 0.0)


def test_paired_interval_needs_the_same_images() -> None:
    one, other = _counts(*_random(5), 5), _counts(*_random(6), 5)
    with pytest.raises(OvssError, match="same images"):
        metrics.paired_interval(one, other)
    with pytest.raises(OvssError, match="same images"):
        metrics.paired_interval(one, one.take(slice(0, 2)))


def test_interval_over_runs_by_loops() -> None:
    runs = [_counts(_random(seed)[0], _random(9)[1], 5) for seed in range(3)]
    found = metrics.runs_interval(runs, classes=[1, 2, 3], seed=7, resamples=100, level=0.9)
    assert found.value == pytest.approx(np.mean([mean_iou(one, [1, 2, 3]) for one in runs]))
    weights = metrics.resample_weights(6, resamples=100, seed=7)
    picked = np.random.default_rng([7, 1]).integers(3, size=(3, 100))
    slow = [
        np.mean(
            [
                mean_iou(runs[picked[k, r]].take(np.repeat(np.arange(6), row)), [1, 2, 3])
                for k in range(3)
            ]
        )
        for r, row in enumerate(weights)
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(slow, [5, 95])), abs=1e-12)
    assert metrics.runs_interval(runs[:1]) == metrics.interval(runs[0])


def test_interval_over_runs_knows_how_far_runs_differ() -> None:
    truth = np.full((60, 3), 100)
    low, high = (Counts(np.full((60, 3), hit), truth, truth) for hit in (40, 80))
    found = metrics.runs_interval([low, high])
    assert (found.low, found.high) == (mean_iou(low), mean_iou(high))
    assert metrics.runs_interval([low, high], [low, high]) == metrics.Interval(0.0, 0.0, 0.0)
    gap = metrics.runs_interval([high, high], [low])
    assert gap.low == pytest.approx(gap.high) == pytest.approx(mean_iou(high) - mean_iou(low))


def test_interval_over_runs_needs_runs_over_the_same_images() -> None:
    one, other = _counts(*_random(5), 5), _counts(*_random(6), 5)
    for runs, base in (([one, other], []), ([one], [other]), ([one], [one.take(slice(0, 2))])):
        with pytest.raises(OvssError, match="same images"):
            metrics.runs_interval(runs, base)
    with pytest.raises(OvssError, match="at least one run"):
        metrics.runs_interval([])


def test_no_image_is_not_a_number() -> None:
    nothing = Counts(*(np.zeros((0, 3), np.int64) for _ in range(3)))
    assert np.isnan(metrics.interval(nothing).value)


def test_arguments_stay_as_they_are() -> None:
    counts = _counts(*_random(9), 5)
    before = [getattr(counts, name).copy() for name in ("intersection", "predicted", "truth")]
    metrics.interval(counts)
    metrics.iou(counts)
    for name, old in zip(("intersection", "predicted", "truth"), before, strict=True):
        assert (getattr(counts, name) == old).all()


def test_interval_of_the_pixel_accuracy() -> None:
    counts = make_result(images=30).counts
    whole = metrics.accuracy_interval(counts)
    assert whole.value == metrics.pixel_accuracy(counts)
    assert whole.low < whole.value < whole.high
    parts = [
        metrics.pixel_accuracy(counts.take(np.repeat(np.arange(30), weights)))
        for weights in metrics.resample_weights(30, resamples=40)
    ]
    few = metrics.accuracy_interval(counts, resamples=40)
    assert (few.low, few.high) == pytest.approx(tuple(np.percentile(parts, [2.5, 97.5])))
