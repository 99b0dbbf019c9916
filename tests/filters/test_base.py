"""The base class, and the filters that need no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.base import Dataset
from ovsslib.filters.base import All, ClassFilter, Oracle
from support.helpers import SHARED, needs_realdata, write_voc


def test_oracle_is_the_ground_truth_without_background_and_void(tmp_path: Path) -> None:
    data = load_dataset("voc", write_voc(tmp_path, 4))
    for name in data.ids:
        expected = sorted(set(np.unique(data.label(name)).tolist()) - {0, 255})
        assert list(Oracle()(data, name)) == expected


@needs_realdata
def test_oracle_on_real_labels() -> None:
    data = load_dataset("voc", SHARED / "VOCdevkit")
    assert Oracle()(data, "2007_000129") == (2, 15)


def test_all_is_every_class(tmp_path: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path, 1))
    assert All()(data, "img_0000") == tuple(range(1, 21))


def test_a_filter_needs_only_a_call(tmp_path: Path) -> None:
    class First(ClassFilter):
        def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
            return (1,)

    data = load_dataset("diorama", write_voc(tmp_path, 1))
    first = First()
    first.prepare(data, data.ids)
    assert (first(data, "img_0000"), first.described) == ((1,), {})
    with pytest.raises(TypeError, match="abstract"):
        ClassFilter()
