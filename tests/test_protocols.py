"""What a protocol decides, and scoring by look-up table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers import write_voc
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.protocols import get_protocol

PNP = get_protocol("pnp-fixed")


def test_background_rule_and_headline_follow_the_data_set(tmp_path: Path) -> None:
    write_voc(tmp_path, 1)
    diorama, voc = load_dataset("diorama", tmp_path), load_dataset("voc", tmp_path)
    assert (PNP.background(diorama), PNP.background(voc)) == ("few", "always")
    assert PNP.scored_classes(diorama) == tuple(range(1, 21))
    assert PNP.scored_classes(voc) == tuple(range(21))


def test_labels_go_through_one_table() -> None:
    """Ids that would chain when renamed in place: 15 and 1, then 1 and 15."""
    labels = np.array([[-1, 0, 1]])
    truth = np.array([[0, 15, 1]])
    for looked_for in ((15, 1), (1, 15)):
        order = np.array([[-1, *(looked_for.index(k) for k in (15, 1))]])
        counts = PNP.score(order, looked_for, truth, 20)
        assert counts.intersection[0, [0, 1, 15]].tolist() == [1, 1, 1]
    assert PNP.score(labels, (1, 15), truth, 20).intersection.sum() == 1


def test_void_is_left_out() -> None:
    counts = PNP.score(np.array([[0, 0]]), (3,), np.array([[3, 255]]), 5)
    assert counts.predicted.sum() == counts.truth.sum() == 1


def test_no_class_looked_for_is_all_background() -> None:
    counts = PNP.score(np.full((2, 2), -1), (), np.full((2, 2), 1), 3)
    assert counts.predicted[0].tolist() == [4, 0, 0, 0]


def test_wrong_label_maps() -> None:
    with pytest.raises(OvssError, match="differ in shape"):
        PNP.score(np.zeros((2, 2), int), (1,), np.zeros((3, 2), int), 2)
    with pytest.raises(OvssError, match="outside its 1 classes"):
        PNP.score(np.ones((1, 1), int), (1,), np.zeros((1, 1), int), 2)


def test_unknown_protocol() -> None:
    with pytest.raises(OvssError, match="did you mean 'pnp-fixed'"):
        get_protocol("pnp-fixd")
