"""Choices by a reward, judged on images that it has not seen; on studies made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.metrics.counts import Counts
from ovsslib.metrics.iou import mean_iou
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.presets import preset
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.search import Space
from ovsslib.tuning.study import choices, figures
from ovsslib.tuning.study.file import load_study
from support.helpers import ROOT
from support.studies import IMAGES, SPACE, made


def noise(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((25, IMAGES))


def test_the_choice_has_the_highest_reward() -> None:
    study = made(noise())
    assert choices.choice(study) == study.rewards[0, :-1].sum(1).argmax()
    assert choices.choice(study, variant="plain") == 23
    single = choices.singles(study)
    assert single.tolist() == [one.head is not None for one in SPACE.grid()]
    assert choices.choice(study, variant="plain", allowed=~single) == 15


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_regret_is_judged_by_the_other_study(sampler: str) -> None:
    chooser, judge = made(noise(1)), made(noise(2))
    table = choices.regrets(chooser, judge, sampler=sampler, seeds=4, trials=6, sizes=[2, 5, 99])
    assert len(table) == 2 * 4
    assert set(table["images"]) == {2, 5}
    assert (table["best"] >= table["drawn_best"]).all()
    assert (table["drawn_best"] >= table["chosen"]).all()
    np.testing.assert_allclose(table["regret"], table["best"] - table["chosen"])
    judged = figures.mean_ious(judge, figures.weights_of(judge))
    np.testing.assert_allclose(table["chosen"], judged[table["row"]])
    assert table["median"].iloc[0] == pytest.approx(np.median(judged[:-1]))


def test_the_whole_grid_finds_the_best_where_the_reward_does() -> None:
    table = choices.regrets(made(), made(), sampler="grid", seeds=2)
    assert table["row"].tolist() == [23, 23]
    assert (table["regret"] == 0).all()
    few = choices.regrets(made(), made(), sampler="grid", seeds=1, allowed=np.arange(24) < 5)
    assert few["row"].tolist() == [4]
    upside_down = choices.regrets(made(-made().rewards[0]), made(), sampler="grid", seeds=1)
    assert upside_down["row"].tolist() == [0]
    again = choices.regrets(
        made(-made().rewards[0]), made(), sampler="grid", seeds=1, variant="plain"
    )
    assert again["row"].tolist() == [23]


def test_tpe_keeps_to_the_candidates_allowed() -> None:
    allowed = np.zeros(24, bool)
    allowed[[0, 7, 10, 21]] = True  # no product of values
    table = choices.regrets(
        made(noise(1)), made(noise(2)), sampler="tpe", seeds=3, trials=30, allowed=allowed
    )
    assert set(table["row"]) <= {0, 7, 10, 21}
    assert (table["drawn_best"] <= table["best"]).all()


def test_other_candidates_are_refused() -> None:
    other = dataclasses.replace(made(), space=Space((1,), (1,)))
    with pytest.raises(OvssError, match="same candidates"):
        choices.regrets(made(), other)


def test_a_part_of_the_candidates() -> None:
    study, space = made(noise()), Space((2,), (None, 2), (0.25,), (0.03, 0.05))
    part = choices.among(study, space)
    table, whole = figures.frame(part), figures.frame(study)
    kept = whole[(whole["layer"] == 2) & (whole["head"] != 1) & (whole["threshold"] == 0.25)]
    assert table.equals(kept.reset_index(drop=True))
    np.testing.assert_array_equal(part.rewards[:, -1], study.rewards[:, -1])
    with pytest.raises(OvssError, match="layer=3"):
        choices.among(study, Space((3,), (None,)))


def test_a_choice_for_each_image() -> None:
    study = made(noise())
    prior = np.zeros(24)
    own = choices.per_image(study, prior, 0)
    np.testing.assert_array_equal(own, study.rewards[0, :-1].argmax(0))
    prior[7] = 1
    assert (choices.per_image(study, prior, 1000) == 7).all()
    with pytest.raises(OvssError, match="reward of the study"):
        choices.per_image(study, prior, 0, "papper")
    equal = made(np.ones((25, IMAGES)))
    assert (choices.per_image(equal, prior, 0) == 7).all()


def test_the_difference_is_that_of_the_metric() -> None:
    study = made()
    rows = np.arange(IMAGES) % 3
    found = choices.difference(study, 20, rows, resamples=200)

    def value(chosen: np.ndarray) -> float:
        numbers = np.arange(IMAGES)
        counts = (
            study.intersection[chosen, numbers],
            study.predicted[chosen, numbers],
            study.truth,
        )
        return mean_iou(Counts(*counts), study.scored)

    want = value(np.full(IMAGES, 20)) - value(rows)
    assert found.value == pytest.approx(want)
    assert 0 < found.low < found.value < found.high
    same = choices.difference(study, 4, 4, resamples=20)
    assert (same.value, same.low, same.high) == (0, 0, 0)


STUDIES = ROOT / "data" / "results" / "tuning"


@pytest.mark.parametrize("name", ["micro-blip", "micro-bridgetower"])
def test_the_shipped_presets_are_what_the_reward_chooses_on_train(name: str) -> None:
    """After new weights: the commands in notebooks/06_reward_tuning."""
    study = load_study(STUDIES / f"{name}_diorama-train.parquet")
    assert study.facts["split"] == "train"
    one = study.candidates[choices.choice(study, variant="scope=image, contrast=mean")]
    assert Candidate(**{field: getattr(preset(name), field) for field in vars(one)}) == one
    # All else is the paper's.
    assert preset(name) == PnPConfig().replace(**vars(one))
