"""Step by step: names, settings and the runs made of them."""

from __future__ import annotations

from ovsslib import preset
from ovsslib.evaluate import ablation as steps
from ovsslib.evaluate.spec import RunSpec
from ovsslib.evaluate.stages import salience_groups

FULL = preset("blip")


def test_the_last_step_is_the_whole_method() -> None:
    found = steps.added(FULL)
    assert list(found)[-1] == steps.WHOLE
    assert found[steps.WHOLE] == FULL
    assert (found["attention"].rounds, found["attention"].salience) == (1, "attention")
    assert found["+ blur"].crf is False
    assert found["+ DropOut"].rounds == FULL.rounds
    assert found[steps.RANDOM].crf


def test_one_stage_less() -> None:
    found = steps.without(FULL)
    assert found["without blur"] == FULL.replace(blur=0.0)
    assert found["without DropOut"] == FULL.replace(rounds=1)


def test_the_steps_share_salience_where_they_can() -> None:
    groups = salience_groups(steps.added(FULL) | steps.without(FULL))
    assert ["+ DropOut", "+ blur", "+ CRF", "without blur"] in groups


def test_runs_name_only_what_differs() -> None:
    base = RunSpec(preset="blip", config={"head": 2}, limit=3)
    full = FULL.replace(head=2)
    other = steps.spec(base, full, steps.without(full)["without blur"])
    assert other.config == {"head": 2, "blur": 0.0}
    assert (other.preset, other.limit) == ("blip", 3)
    assert steps.spec(base, full, full) is base
