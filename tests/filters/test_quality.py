"""Precision and recall of filters."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.base import Dataset
from ovsslib.errors import OvssError
from ovsslib.filters.base import All, ClassFilter, Oracle
from ovsslib.filters.quality import score_filter
from support.helpers import write_voc


def test_by_hand(tmp_path: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path, 3))
    names = ("img_0000", "img_0001", "img_0002")
    truth = {name: Oracle()(data, name) for name in names}
    assert all(len(labels) == 2 for labels in truth.values())
    spare = next(k for k in range(1, 21) if all(k not in t for t in truth.values()))

    class OneSlip(ClassFilter):
        def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
            if name == "img_0000":
                return truth[name]
            if name == "img_0001":
                return (truth[name][0], spare)
            raise OvssError("no answer")

    figures = score_filter(OneSlip(), data, names)
    assert (figures["precision"], figures["recall"], figures["f1"]) == (0.75, 0.75, 0.75)
    assert (figures["exact"], figures["named"], figures["true"], figures["images"]) == (
        0.5,
        2,
        2,
        2,
    )
    assert figures["failed"] == {"img_0002": "no answer"}
    rows = figures["classes"]
    assert rows[data.classes[spare - 1]] == {
        "precision": 0, "recall": None, "named": 1, "true": 0,
    }  # fmt: skip
    with pytest.raises(OvssError, match="no image of diorama could be scored: no answer"):
        score_filter(OneSlip(), data, names[2:])


def test_the_oracle_is_perfect_and_all_misses_nothing(tmp_path: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path, 3))
    best = score_filter(Oracle(), data, data.ids)
    assert (best["precision"], best["recall"], best["exact"]) == (1, 1, 1)
    lazy = score_filter(All(), data, data.ids)
    assert (lazy["precision"], lazy["recall"]) == (0.1, 1)
