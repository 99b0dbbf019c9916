"""A race: the winner of a full search, for fewer looks; resumable; nobody is judged twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.race import Lap, Rules, race
from ovsslib.tuning.search import Plan, Space, drawn, search

SPACE = Space.of(3, 4)
PAIRS = [1 + picture % 5 for picture in range(120)]


class Judge:
    """Candidates win each class by chance, one more often than the other."""

    def __init__(self, stop: int | None = None) -> None:
        self.grid = SPACE.grid()
        odds = np.linspace(0.2, 0.8, len(self.grid))
        chance = np.random.default_rng(5)
        shape = (len(self.grid), len(PAIRS))
        self.rewards = chance.binomial(np.broadcast_to(PAIRS, shape), odds[:, None]).astype(float)
        self.looks: list[tuple[Candidate, int]] = []
        self.stop = stop

    def __call__(self, candidates: Sequence[Candidate], pictures: Sequence[int]) -> np.ndarray:
        if self.stop is not None and len(self.looks) >= self.stop:
            raise KeyboardInterrupt
        self.looks += [(one, picture) for one in candidates for picture in pictures]
        rows = [self.grid.index(one) for one in candidates]
        found: np.ndarray = self.rewards[np.ix_(rows, pictures)]
        return found


def laps_of(judge: Judge, rules: Rules) -> list[Lap]:
    return list(race(rules, judge.grid))


@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_a_full_search_wins_with_fewer_looks(seed: int) -> None:
    judge = Judge()
    last = laps_of(judge, Rules(judge, PAIRS, seed))[-1]
    full = judge.rewards.sum(1)
    assert last.left[last.values[last.left].argmax()] == full.argmax()
    np.testing.assert_allclose(last.values[last.left], full[last.left] / sum(PAIRS))
    assert last.looks == len(judge.looks) < 0.4 * judge.rewards.size
    assert len(set(judge.looks)) == len(judge.looks)


def test_equal_candidates_are_all_judged_to_the_end() -> None:
    same = Rules(lambda few, pictures: np.ones((len(few), len(pictures))), [1] * 35)
    laps = list(race(same, SPACE.grid()[:4]))
    assert [lap.seen for lap in laps] == [10, 20, 30, 35]
    assert all(len(lap.left) == 4 and not len(lap.dismissed) for lap in laps)
    assert laps[-1].values.tolist() == [1.0] * 4


def test_one_that_never_wins_is_dismissed_by_the_first_chunk() -> None:
    rules = Rules(lambda few, p: np.repeat([[1.0], [0.0]], len(p), 1)[: len(few)], [1] * 30)
    first = next(race(rules, SPACE.grid()[:2]))
    assert first.dismissed.tolist() == [1]
    assert first.left.tolist() == [0]


def test_pictures_without_a_class_are_left_out() -> None:
    rules = Rules(lambda few, pictures: np.zeros((len(few), len(pictures))), [0, 2, 0, 1])
    assert sorted(rules.order) == [1, 3]


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"pairs": [0, 0]}, "no image"), ({"chunk": 1}, "chunks of 2"), ({"level": 0.5}, "level")],
)
def test_rules_that_make_no_sense(fields: dict[str, object], words: str) -> None:
    with pytest.raises(OvssError, match=words):
        Rules(**({"judge": Judge(), "pairs": PAIRS} | fields))  # type: ignore[arg-type]
    with pytest.raises(OvssError, match="one candidate at a time"):
        Plan("tpe", race=True)
    with pytest.raises(OvssError, match="rules"):
        search(lambda few: [0.0] * len(few), SPACE, Plan(race=True))


def test_another_number_of_trials_is_another_race(tmp_path: Path) -> None:
    file = tmp_path / "trials.sqlite"
    for trials in (34, 100, 20):
        plan = Plan(trials=trials, seed=4, race=True)
        fresh, again = Judge(), Judge()
        alone = search(None, SPACE, plan, rules=Rules(fresh, PAIRS, 4))  # type: ignore[arg-type]
        found = search(None, SPACE, plan, storage=file, rules=Rules(again, PAIRS, 4))  # type: ignore[arg-type]
        assert found == alone
        assert again.looks == fresh.looks


def test_an_interrupted_race_goes_on(tmp_path: Path) -> None:
    plan, file = Plan(trials=40, seed=2, race=True), tmp_path / "trials.sqlite"
    alone = Judge()
    whole = search(None, SPACE, plan, rules=Rules(alone, PAIRS, 2))  # type: ignore[arg-type]
    first = Judge(stop=800)
    with pytest.raises(KeyboardInterrupt):
        search(None, SPACE, plan, storage=file, rules=Rules(first, PAIRS, 2))  # type: ignore[arg-type]
    second = Judge()
    found = search(None, SPACE, plan, storage=file, rules=Rules(second, PAIRS, 2))  # type: ignore[arg-type]
    assert found == whole
    assert first.looks + second.looks == alone.looks
    third = Judge()
    assert search(None, SPACE, plan, storage=file, rules=Rules(third, PAIRS, 2)) == whole  # type: ignore[arg-type]
    assert third.looks == []
    assert {t.candidate for t in (*found.trials, *found.dismissed)} == set(drawn(SPACE, 40, 2))
    assert found.best.candidate not in {trial.candidate for trial in found.dismissed}
