"""Which vocabularies a method is measured under."""

from __future__ import annotations

import dataclasses

import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.base import Dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.stress_cases import Case, Stress, plain_names, vocabularies
from ovsslib.evaluate.task import Task, make_task
from ovsslib.protocols.perturb import Words, available, read_words, shipped_words
from ovsslib.protocols.protocol import get_protocol

WORDS = read_words(shipped_words("diorama"))


def task_for(data: Dataset, **more: object) -> Task:
    return make_task(data, limit=3, **more)


def test_plain_names_are_the_data_set_s() -> None:
    data = load_dataset("diorama")
    assert plain_names(data, get_protocol("pnp-fixed")) == {}
    sclip = dataclasses.replace(get_protocol("sclip"), names="sclip-voc", name_spaces=False)
    voc = dataclasses.replace(task_for(data), protocol=sclip)
    plain = plain_names(data, sclip)
    assert plain["background"] == ["background"]
    assert plain["traffic light"] == ["traffic light"]
    assert "bird" not in plain
    assert "person" not in plain
    groups = vocabularies(Stress(("source",)), voc, Words())
    assert list(groups) == ["plain", "source"]
    assert list(groups["source"].values()) == [None]
    # Names without spaces are names of the protocol's own, too.
    tcl = dataclasses.replace(get_protocol("tcl"), name_spaces=False)
    groups = vocabularies(Stress(("source",)), dataclasses.replace(voc, protocol=tcl), Words())
    assert [dict(made.names).keys() for made in groups["plain"].values()] == [
        {name for name in data.classes if " " in name}
    ]


def test_all_conditions_that_the_words_allow_are_made() -> None:
    task = task_for(load_dataset("diorama", None, "tune"))
    groups = vocabularies(Stress(draws=3, seed=4), task, WORDS)
    assert tuple(groups) == ("plain", *available(WORDS))
    assert {name: len(group) for name, group in groups.items()} == {
        "plain": 1, **dict.fromkeys(available(WORDS), 9), "clutter": 1, "engineered": 1
    }  # fmt: skip
    assert groups == vocabularies(Stress(draws=3, seed=4), task, WORDS)
    assert groups != vocabularies(Stress(draws=3, seed=5), task, WORDS)
    assert tuple(vocabularies(Stress(), task, Words())) == ("plain", "plural", "misspelling")


def test_cases_of_a_condition() -> None:
    stress = Stress(shares=(1.0, 0.5, 1.0), counts=(7,), draws=2)
    assert [case.name for case in stress.cases("plural")] == [
        "plural 0.5 #0", "plural 0.5 #1", "plural 1 #0", "plural 1 #1"
    ]  # fmt: skip
    assert stress.cases("far") == [Case("far", 7, 0), Case("far", 7, 1)]
    assert stress.cases("engineered") == [Case("engineered")]


@pytest.mark.parametrize(
    ("field", "value"), [("shares", (0.0,)), ("counts", ()), ("draws", 0), ("seed", -1)]
)
def test_ranges(field: str, value: object) -> None:
    with pytest.raises(OvssError, match=f"{field} must be"):
        Stress(**{field: value})
