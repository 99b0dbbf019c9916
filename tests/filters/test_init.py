"""Filters by name."""

from __future__ import annotations

import re

import pytest

from ovsslib.errors import OvssError
from ovsslib.filters import FILTERS, get_filter, split_filter


def test_unknown_filter_names_the_nearest() -> None:
    with pytest.raises(OvssError, match="did you mean 'oracle'"):
        get_filter("orakel")
    assert sorted(FILTERS) == ["all", "clip", "gpt4o", "oracle", "recorded", "vlm"]


def test_settings_of_filters() -> None:
    class_filter = get_filter("clip:some-model", {"threshold": 1, "most": 3})
    assert (class_filter.model, class_filter.threshold, class_filter.most) == ("some-model", 1, 3)
    assert get_filter("vlm").model is None
    assert get_filter("oracle").described == {}
    assert split_filter("vlm:a/b", {"model": "a/b"}) == ("vlm", {"model": "a/b"})


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        (None, {}, "the filter's name must be str, got None"),
        (["all"], {}, "the filter's name must be str"),
        ("clip", ["threshold"], "the filter's settings must be Mapping or None"),
        ("clip", {3: 4}, "unknown setting of clip 3"),
        ("oracle", {"threshold": 0.5}, "the filter 'oracle' has no settings"),
        ("all:x", {}, "the filter 'all' has no settings"),
        ("clip", {"treshold": 0.5}, "unknown setting of clip 'treshold'; did you mean 'threshold'"),
        (
            "clip",
            {"threshold": "much"},
            "clip's threshold must be float from 0 to 1 or None, got 'much'",
        ),
        ("clip", {"most": True}, "most must be int >= 1, got True"),
        ("clip", {"threshold": 70}, "threshold must be float from 0 to 1 or None, got 70"),
        ("clip:", {}, "name model once, in clip:MODEL"),
        ("clip:a", {"model": "b"}, "name model once"),
        ("recorded", {}, "needs a file: --filter recorded:answers.jsonl"),
        ("recorded:none.jsonl", {}, "none.jsonl: no such answer file"),
        ("gpt4o", {}, "needs a file for its answers"),
        ("gpt4o:a.jsonl", {"side": 0}, "side must be int from 1 to 100000"),
        ("gpt4o:a.jsonl", {"concurrency": 10**8}, "concurrency must be int from 1 to 256"),
        ("gpt4o:a.jsonl", {"detail": "x"}, "unknown value of gpt4o's detail 'x'"),
        ("gpt4o:a.jsonl", {"model": " "}, "name a model"),
        ("gpt4o:a.jsonl", {"price_in": -1.0}, "price_in must be float >= 0"),
        ("gpt4o:a.jsonl", {"price_out": float("nan")}, "price_out must be float >= 0"),
        ("gpt4o:a.jsonl", {"max_cost": float("inf")}, "max_cost must be float > 0"),
        ("gpt4o:a.jsonl", {"max_cost": 1.0}, "needs the model's prices"),
        ("gpt4o:a.jsonl", {"api_key": "x"}, "unknown setting of gpt4o 'api_key'"),
        ("vlm", {"batch": 0}, "batch must be int >= 1"),
    ],
)
def test_wrong_settings(name: str, settings: dict, words: str) -> None:
    with pytest.raises(OvssError, match=re.escape(words)):
        get_filter(name, settings)
