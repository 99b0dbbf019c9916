"""Which classes a method is told of."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters import describe, get_filter, list_filters, split_filter
from support.helpers import SHARED, needs_realdata, write_voc


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
    assert list_filters() == ["all", "clip", "gpt4o", "oracle", "recorded", "vlm"]


def test_settings_of_filters() -> None:
    looks = get_filter("clip:some-model", {"threshold": 1, "most": 3})
    assert (looks.model, looks.threshold, looks.most) == ("some-model", 1, 3)
    assert get_filter("vlm").model is None
    assert describe(get_filter("oracle")) == {}
    assert split_filter("vlm:a/b", {"model": "a/b"}) == ("vlm", {"model": "a/b"})


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("oracle", {"threshold": 0.5}, "the filter 'oracle' has no settings"),
        ("all:x", {}, "the filter 'all' has no settings"),
        ("clip", {"treshold": 0.5}, "no setting 'treshold'; did you mean 'threshold'"),
        ("clip", {"threshold": "much"}, "threshold must be float | None, got 'much'"),
        ("clip", {"most": True}, "most must be int, got True"),
        ("clip", {"threshold": 70}, "threshold must be from 0 to 1, got 70"),
        ("clip:", {}, "name model once, in clip:MODEL"),
        ("clip:a", {"model": "b"}, "name model once"),
        ("recorded", {}, "needs a file: --filter recorded:answers.jsonl"),
        ("recorded:none.jsonl", {}, "none.jsonl: no such answer file"),
        ("gpt4o", {}, "needs a file for its answers"),
        ("gpt4o:a.jsonl", {"side": 0}, "side must be at least 1"),
        ("gpt4o:a.jsonl", {"max_cost": 1.0}, "needs the model's prices"),
        ("gpt4o:a.jsonl", {"api_key": "x"}, "has no setting 'api_key'"),
        ("vlm", {"batch": 0}, "batch must be at least 1"),
    ],
)
def test_wrong_settings(name: str, settings: dict, words: str) -> None:
    with pytest.raises(OvssError, match=re.escape(words)):
        get_filter(name, settings)
