"""Charts of a run: what is drawn, and the words that describe it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ovsslib.evaluate.result import class_table
from ovsslib.reports import charts, figures
from ovsslib.reports.examples import Example
from support.results import make_confusions, make_result

RESULT = make_confusions()


def many(n: int) -> pd.DataFrame:
    """So many classes, from bad to good."""
    kinds = ["background", *(["thing", "stuff"] * n)[: n - 1]]
    names = ["background", *(f"c{k}" for k in range(1, n))]
    columns = {"label": range(n), "class": names, "kind": kinds, "iou": np.linspace(0, 1, n)}
    return pd.DataFrame(columns)


def test_known_classes_are_scored_ones_that_occur() -> None:
    table = class_table(make_result())
    rows = charts.known_classes(table, (0, 1, 3))
    assert sorted(rows["label"]) == [0, 1, 3]
    assert rows["iou"].is_monotonic_decreasing
    table.loc[table["label"] == 1, "iou"] = np.nan
    assert sorted(charts.known_classes(table, (0, 1, 3))["label"]) == [0, 3]


def test_class_chart_is_sorted_and_coloured_by_kind() -> None:
    rows = charts.known_classes(many(6), range(6))
    figure = charts.class_chart(rows)
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == [*rows["class"]]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([100, 80, 60, 40, 20, 0])
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["thing", "stuff", "background"]
    assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)


def test_of_many_classes_the_best_and_the_worst_are_shown() -> None:
    rows = charts.known_classes(many(151), range(151))
    best, worst = charts.class_chart(rows).axes
    assert [len(best.patches), len(worst.patches)] == [20, 20]
    assert (best.get_title(), worst.get_title()) == ("the 20 best", "the 20 worst")
    assert worst.get_yticklabels()[-1].get_text() == "background"


def test_classes_in_words() -> None:
    rows = charts.known_classes(many(5), range(5))
    assert charts.alt_classes(rows) == (
        "Bars of the IoU of 5 classes, sorted. Highest: c4 100 %, c3 75 %. "
        "Lowest: c1 25 %, background 0 %."
    )
    assert charts.alt_classes(rows[:1]) == "Bars of IoU per class: c4 100 %."
    assert charts.alt_classes(rows[:0]) == "Bars of IoU per class: none occurs."
    assert charts.class_chart(rows[:0]).axes[0].patches[:] == []


def test_confusion_chart_shows_shares_of_the_true_class() -> None:
    ax = charts.confusion_chart(RESULT, [1, 2, 3]).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["cat", "dog", "sky"]
    drawn = np.asarray(ax.images[0].get_array(), float)
    assert drawn[:2] == pytest.approx(np.array([[90, 10, 0], [50, 0, 0]]))
    assert [text.get_text() for text in ax.texts] == ["90", "10", "50"]
    assert len(ax.patches) == 3


def test_confusions_in_words() -> None:
    table = figures.pairs(RESULT)
    assert charts.alt_confusions(table[:2]) == (
        "Of the pixels of cat, 10 % are labelled as dog; "
        "of the pixels of dog, 50 % are labelled as no class."
    )
    right = replace(RESULT, confusion=np.diag([1, 1, 1, 1]))
    assert charts.alt_confusions(figures.pairs(right)).startswith("No pixel")


def test_stage_chart() -> None:
    figure = charts.stage_chart({"read": 0.1, "refine": 0.4})
    (ax,) = figure.axes
    assert [bar.get_width() for bar in ax.patches] == [0.1, 0.4]
    assert [text.get_text() for text in ax.texts] == ["0.100", "0.400"]
    assert charts.alt_stages({}) == "Bars of seconds per image: no stage was timed."


def test_example_chart_has_three_rows() -> None:
    image = np.full((6, 8, 3), 90, np.uint8)
    truth = np.full((6, 8), 255, np.uint8)
    truth[:3] = 2
    labels = np.zeros((6, 8), np.int64)
    labels[:, :4] = 1
    example = Example("a", image, truth, labels)
    figure = charts.example_chart([example, example], ["a: 10", "b: 20"], ["cat", "dog"])
    axes = np.array(figure.axes).reshape(3, 2)
    assert [ax.get_title() for ax in axes[0]] == ["a: 10", "b: 20"]
    legends = [[t.get_text() for t in ax.get_legend().get_texts()] for ax in axes[1:, 1]]
    assert legends == [["dog 50 %"], ["cat 50 %"]]
    assert [ax.texts[0].get_text() for ax in axes[:, 0]] == ["image", "ground truth", "method"]


def test_example_chart_without_images_is_empty() -> None:
    assert not any(ax.images for ax in charts.example_chart([], [], ["cat"]).axes)
