"""A run at a glance, against figures computed another way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluate.test_result import make_result
from ovsslib.evaluate.result import figures
from ovsslib.metrics import iou as metrics
from ovsslib.metrics.counts import Counts
from ovsslib.reports import figures as summary


def test_headline_is_that_of_the_results_file() -> None:
    result = make_result()
    result = replace(result, boundary=result.counts)
    table, values = summary.headline(result), figures(result)
    for title, key in (("mIoU", "miou"), ("mIoU, things", "miou_things")):
        for end in ("value", "low", "high"):
            assert table.loc[title, end] == pytest.approx(100 * values[key][end])
    assert table["labels"].to_dict() == {
        "mIoU": 3,
        "mIoU, things": 2,
        "mIoU, stuff": 1,
        "boundary mIoU": 3,
        "background IoU": 1,
        "pixel accuracy": 1,
    }
    assert table.loc["boundary mIoU", "value"] == pytest.approx(100 * values["boundary_miou"])
    assert table.loc["background IoU", "value"] == pytest.approx(100 * values["iou_background"])
    assert table.loc["pixel accuracy", "value"] == pytest.approx(100 * values["pixel_accuracy"])


def test_headline_leaves_out_what_there_is_not() -> None:
    result = make_result()
    counts = result.counts
    truth = counts.truth.copy()
    truth[:, 0] = 0
    bare = replace(
        result, counts=Counts(counts.intersection, counts.predicted, truth), things=frozenset()
    )
    assert list(summary.headline(bare).index) == ["mIoU", "mIoU, stuff", "pixel accuracy"]


def test_labels_that_do_not_occur_are_not_in_the_mean() -> None:
    result = make_result()
    counts = result.counts
    parts = [getattr(counts, name).copy() for name in ("intersection", "predicted", "truth")]
    for part in parts:
        part[:, 2] = 0
    table = summary.headline(replace(result, counts=Counts(*parts)))
    assert table.loc[["mIoU", "mIoU, things", "mIoU, stuff"], "labels"].tolist() == [2, 1, 1]


def test_seconds_are_per_picture_tried() -> None:
    result = replace(make_result(images=3), stages={"read": 2.0}, failed={"p9": "damaged"})
    assert summary.seconds_per_picture(result) == {"read": 0.5}


def test_picture_means_are_over_the_classes_in_the_picture() -> None:
    #               label: 0   1   2   3
    truth = np.array([[10, 20, 0, 0], [9, 0, 0, 0], [0, 5, 5, 0]])
    hits = np.array([[5, 10, 0, 0], [9, 0, 0, 0], [0, 5, 0, 0]])
    said = np.array([[5, 10, 15, 0], [9, 0, 0, 0], [0, 10, 0, 0]])
    result = replace(make_result(images=3), counts=Counts(hits, said, truth))
    assert summary.picture_means(result) == pytest.approx([0.5, np.nan, 0.25], nan_ok=True)
    whole = replace(result, scored=(0, 1, 2, 3))
    assert summary.picture_means(whole) == pytest.approx([0.5, 1.0, 0.25])


@pytest.mark.parametrize(
    ("values", "best", "worst"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5], [4, 3], [0, 1]),
        ([0.1, 0.2, 0.3], [2, 1], [0]),
        ([0.1, np.nan], [0], []),
        ([np.nan], [], []),
        ([], [], []),
    ],
)
def test_no_picture_is_among_the_best_and_the_worst(values, best, worst) -> None:
    assert summary.extremes(np.array(values), 2) == (best, worst)


def test_interval_of_the_pixel_accuracy() -> None:
    counts = make_result(images=30).counts
    found = metrics.accuracy_interval(counts)
    assert found.value == metrics.pixel_accuracy(counts)
    assert found.low < found.value < found.high
    parts = [
        metrics.pixel_accuracy(counts.take(np.repeat(np.arange(30), weights)))
        for weights in metrics.resample_weights(30, resamples=40)
    ]
    few = metrics.accuracy_interval(counts, resamples=40)
    assert (few.low, few.high) == pytest.approx(tuple(np.percentile(parts, [2.5, 97.5])))
