"""Which class is taken for which: shares, order, the name of label 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluate.test_result import make_result
from ovsslib.errors import OvssError
from ovsslib.reports import confusions

#                  none cat dog sky
MATRIX = np.array([[5, 1, 0, 0], [0, 90, 10, 0], [4, 4, 0, 0], [0, 0, 0, 0]])
RESULT = replace(make_result(), confusion=MATRIX)


def test_pairs_are_ordered_by_pixels_or_by_share() -> None:
    table = confusions.pairs(RESULT)
    assert list(zip(table["true"], table["labelled as"], table["pixels"], strict=True)) == [
        ("cat", "dog", 10),
        ("dog", "no class", 4),
        ("dog", "cat", 4),
        ("no class", "cat", 1),
    ]
    assert table["share"].tolist() == pytest.approx([0.1, 0.5, 0.5, 1 / 6])
    assert list(confusions.pairs(RESULT, by="share")["true"]) == ["dog", "dog", "no class", "cat"]
    with pytest.raises(OvssError, match="'pixels' or 'share', not 'name'"):
        confusions.pairs(RESULT, by="name")  # type: ignore[arg-type]


def test_shares_of_a_class_without_pixels_are_unknown() -> None:
    found = confusions.shares(MATRIX)
    assert np.isnan(found[3]).all()
    assert found[:3].sum(1) == pytest.approx(1)


def test_label_0_is_called_what_it_is() -> None:
    assert confusions.label_names(RESULT) == ("no class", "cat", "dog", "sky")
    assert confusions.label_names(replace(RESULT, scored=(0, 1, 2, 3)))[0] == "background"
    released = replace(RESULT, protocol={**RESULT.protocol, "void": "background"})
    assert confusions.label_names(released)[0] == "background or void"


def test_involved_takes_whole_pairs() -> None:
    table = confusions.pairs(RESULT)
    assert confusions.involved(table) == [0, 1, 2]
    assert confusions.involved(table, most=2) == [1, 2]
    assert confusions.involved(table, most=1) == []


def test_a_run_without_mistakes_has_no_pairs() -> None:
    right = replace(RESULT, confusion=np.diag([3, 2, 1, 0]))
    assert len(confusions.pairs(right)) == 0


def test_old_results_say_so() -> None:
    with pytest.raises(OvssError, match="no confusion matrix; run it again"):
        confusions.pairs(make_result())
