"""Runs as plain data."""

from __future__ import annotations

import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate.spec import RunSpec


def test_a_run_from_json() -> None:
    spec = RunSpec.from_dict({"vlm": "x", "config": {"crf": False}, "limit": 3})
    assert (spec.vlm, spec.config, spec.limit, spec.filter) == ("x", {"crf": False}, 3, "oracle")


def test_a_method_s_own_model() -> None:
    assert RunSpec().vlm == "micro-blip"
    assert RunSpec(method="naclip").vlm == "micro-clip"
    assert RunSpec(method="sam3") == RunSpec(method="sam3", vlm="facebook/sam3")
    assert RunSpec(method="sam3", vlm="x").vlm == "x"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"presett": "blip"}, "did you mean 'preset'"),
        ({"config": {"background": "never"}}, "background is set by the protocol"),
        ({"limit": 0}, "limit must be int >= 1 or None"),
        ({"limit": "3"}, "limit must be int >= 1 or None"),
        ({"limit": True}, "limit must be int >= 1 or None"),
    ],
)
def test_wrong_runs(record: dict, words: str) -> None:
    with pytest.raises(OvssError, match=words):
        RunSpec.from_dict(record)


def test_what_runs_share() -> None:
    base = RunSpec()
    assert base.shared == RunSpec(config={"crf": False}, preset="blip").shared
    for other in (RunSpec(vlm="x"), RunSpec(filter="all"), RunSpec(limit=2), RunSpec(split="tune")):
        assert other.shared != base.shared


def test_settings_of_a_filter_may_be_lists() -> None:
    one, other = (RunSpec(filter_settings={"words": [word]}) for word in ("a", "b"))
    assert {one.shared, other.shared, one.shared} == {other.shared, one.shared}
    assert one.shared != other.shared
