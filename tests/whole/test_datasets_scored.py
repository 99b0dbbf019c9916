"""Every data set through the benchmark's own steps: read, told its classes, scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import LAYOUTS, list_datasets, load_dataset
from ovsslib.evaluate.task import Sample, make_task
from ovsslib.protocols.protocol import get_protocol
from support.helpers import write_voc
from support.small_data import annotation, rectangle, write_ade, write_coco, write_context

WRITERS = {
    "ade20k": write_ade,
    "coco-object-instances": lambda root: write_coco(
        root, [annotation(1, 90, [rectangle(0, 0, 9, 9)])]
    ),
    "coco-object80": write_coco,
    "coco-object81": write_coco,
    "coco-stuff": write_coco,
    "context59": write_context,
    "context60": write_context,
    "diorama": write_voc,
    "voc20": write_voc,
    "voc21": write_voc,
}


def perfect(picture: Sample) -> np.ndarray:
    """The label map of a method that is right everywhere, background included."""
    labels = np.full(picture.truth.shape, -1)
    for index, label in enumerate(picture.looked_for):
        labels[picture.truth == label] = index
    return labels


def test_every_data_set_is_here() -> None:
    assert sorted(WRITERS) == list_datasets() == sorted(LAYOUTS)


@pytest.mark.parametrize("name", WRITERS)
def test_a_perfect_answer_is_scored_as_such(tmp_path: Path, name: str) -> None:
    data = load_dataset(name, WRITERS[name](tmp_path))
    work, protocol = make_task(data), get_protocol("pnp-fixed")
    picture = work.read(data.ids[0])
    assert picture.looked_for
    counts = protocol.tally(
        perfect(picture), picture.looked_for, picture.truth, len(data.classes)
    ).counts
    assert (counts.intersection == counts.predicted).all()
    assert (counts.intersection == counts.truth).all()
    assert counts.intersection.sum() == (picture.truth != 255).sum()


@pytest.mark.parametrize("name", WRITERS)
def test_pixels_of_no_class_are_a_class_or_not_scored(tmp_path: Path, name: str) -> None:
    """A method that sees nothing anywhere is wrong on all classes, and right on background."""
    data = load_dataset(name, WRITERS[name](tmp_path))
    picture = make_task(data).read(data.ids[0])
    scored = get_protocol("pnp-fixed").scored_classes(data)
    assert (0 in scored) == LAYOUTS[name].background
    assert len(scored) == len(data.classes) + LAYOUTS[name].background
    if LAYOUTS[name].zero_is_void:
        assert 0 not in picture.truth
    nothing = np.full(picture.truth.shape, -1)
    counts = get_protocol("pnp-fixed").tally(nothing, (), picture.truth, len(data.classes)).counts
    assert counts.intersection[0, 0] == (picture.truth == 0).sum()
    assert not counts.intersection[0, 1:].any()
