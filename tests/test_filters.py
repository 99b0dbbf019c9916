"""Which classes a method is told of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers import SHARED, needs_realdata, write_voc
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters import get_filter, list_filters


def test_oracle_is_the_ground_truth_without_background_and_void(tmp_path: Path) -> None:
    data = load_dataset("voc", write_voc(tmp_path, 4))
    for name in data.ids:
        expected = sorted(set(np.unique(data.label(name)).tolist()) - {0, 255})
        assert list(get_filter("oracle")(data, name)) == expected


@needs_realdata
def test_oracle_on_real_labels() -> None:
    data = load_dataset("voc", SHARED / "VOCdevkit")
    assert get_filter("oracle")(data, "2007_000129") == (2, 15)


def test_all_is_every_class(tmp_path: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path, 1))
    assert get_filter("all")(data, "img_0000") == tuple(range(1, 21))


def test_unknown_filter_names_the_nearest() -> None:
    with pytest.raises(OvssError, match="did you mean 'oracle'"):
        get_filter("orakel")
    assert list_filters() == ["all", "oracle"]
