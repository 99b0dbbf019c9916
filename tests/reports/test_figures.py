"""A run at a glance, against figures computed another way; which class is taken for which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate.result import figures
from ovsslib.metrics.counts import Counts
from ovsslib.reports import figures as summary
from support.results import make_confusions, make_result

RESULT = make_confusions()


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


def test_seconds_are_per_image_tried() -> None:
    result = replace(make_result(images=3), stages={"read": 2.0}, failed={"p9": "damaged"})
    assert summary.seconds_per_image(result) == {"read": 0.5}


def test_image_means_are_over_the_classes_in_the_image() -> None:
    #               label: 0   1   2   3
    truth = np.array([[10, 20, 0, 0], [9, 0, 0, 0], [0, 5, 5, 0]])
    hits = np.array([[5, 10, 0, 0], [9, 0, 0, 0], [0, 5, 0, 0]])
    predicted = np.array([[5, 10, 15, 0], [9, 0, 0, 0], [0, 10, 0, 0]])
    result = replace(make_result(images=3), counts=Counts(hits, predicted, truth))
    assert summary.image_means(result) == pytest.approx([0.5, np.nan, 0.25], nan_ok=True)
    whole = replace(result, scored=(0, 1, 2, 3))
    assert summary.image_means(whole) == pytest.approx([0.5, 1.0, 0.25])


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
def test_no_image_is_among_the_best_and_the_worst(values, best, worst) -> None:
    assert summary.extremes(np.array(values), 2) == (best, worst)


def test_pairs_are_ordered_by_pixels() -> None:
    table = summary.pairs(RESULT)
    assert list(zip(table["true"], table["labelled as"], table["pixels"], strict=True)) == [
        ("cat", "dog", 10),
        ("dog", "no class", 4),
        ("dog", "cat", 4),
        ("no class", "cat", 1),
    ]
    assert table["share"].tolist() == pytest.approx([0.1, 0.5, 0.5, 1 / 6])


def test_shares_of_a_class_without_pixels_are_unknown() -> None:
    shares = summary.shares(RESULT.confusion)
    assert np.isnan(shares[3]).all()
    assert shares[:3].sum(1) == pytest.approx(1)


def test_label_0_is_called_what_it_is() -> None:
    assert summary.label_names(RESULT) == ("no class", "cat", "dog", "sky")
    assert summary.label_names(replace(RESULT, scored=(0, 1, 2, 3)))[0] == "background"
    released = replace(RESULT, protocol={**RESULT.protocol, "void": "background"})
    assert summary.label_names(released)[0] == "background or void"


def test_involved_takes_whole_pairs() -> None:
    table = summary.pairs(RESULT)
    assert summary.involved(table) == [0, 1, 2]
    # the pair (12, 13) adds one label, as 13 is there
    many = pd.DataFrame({"truth": range(0, 20, 2), "predicted": range(1, 21, 2)})
    many.loc[5, "predicted"] = 13
    assert summary.involved(many) == [*range(11), 13]
    odd = pd.concat([table[:1], many.iloc[1:].drop(6)])  # 11 labels, then two more that do not fit
    assert summary.involved(odd) == [*range(1, 11), 13]


def test_a_run_without_mistakes_has_no_pairs() -> None:
    right = replace(RESULT, confusion=np.diag([3, 2, 1, 0]))
    assert len(summary.pairs(right)) == 0


def test_old_results_say_so() -> None:
    with pytest.raises(OvssError, match="no confusion matrix; run it again"):
        summary.pairs(make_result())
