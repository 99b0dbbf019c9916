"""A race: the winner of a full search, for fewer evaluations; resumable; nobody is judged twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.race import race
from ovsslib.tuning.search import Plan, Space, drawn, search

SPACE = Space.of(3, 4)
PAIRS = [1 + image % 5 for image in range(120)]


class Odds:
    """An objective by which candidates win each class by chance, one more often than the other."""

    pairs = PAIRS

    def __init__(self, stop: int | None = None) -> None:
        self.grid = SPACE.grid()
        odds = np.linspace(0.2, 0.8, len(self.grid))
        chance = np.random.default_rng(5)
        shape = (len(self.grid), len(PAIRS))
        self.rewards = chance.binomial(np.broadcast_to(PAIRS, shape), odds[:, None]).astype(float)
        self.judged: list[tuple[Candidate, int]] = []
        self.stop = stop

    def per_image(self, candidates: Sequence[Candidate], images: Sequence[int]) -> np.ndarray:
        if self.stop is not None and len(self.judged) >= self.stop:
            raise KeyboardInterrupt
        self.judged += [(candidate, image) for candidate in candidates for image in images]
        rows = [self.grid.index(candidate) for candidate in candidates]
        return self.rewards[np.ix_(rows, images)]


class Fixed:
    """An objective by which each candidate has the same reward for all images."""

    def __init__(self, rewards: Sequence[float], pairs: Sequence[int]) -> None:
        self.rewards, self.pairs = rewards, pairs
        self.images: list[int] = []

    def per_image(self, candidates: Sequence[Candidate], images: Sequence[int]) -> np.ndarray:
        self.images += images
        few = np.array(self.rewards[: len(candidates)])
        return np.repeat(few[:, None], len(images), 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_a_full_search_wins_with_fewer_evaluations(seed: int) -> None:
    odds: Any = Odds()
    *_, last = race(odds, odds.grid, seed=seed)
    full = odds.rewards.sum(1)
    assert last.left[last.values[last.left].argmax()] == full.argmax()
    np.testing.assert_allclose(last.values[last.left], full[last.left] / sum(PAIRS))
    assert last.evaluations == len(odds.judged) < 0.4 * odds.rewards.size
    assert len(set(odds.judged)) == len(odds.judged)


def test_equal_candidates_are_all_judged_to_the_end() -> None:
    same: Any = Fixed([1.0] * 4, [1] * 35)
    laps = list(race(same, SPACE.grid()[:4]))
    assert [lap.images for lap in laps] == [10, 20, 30, 35]
    assert all(len(lap.left) == 4 and not len(lap.dismissed) for lap in laps)
    assert laps[-1].values.tolist() == [1.0] * 4


def test_one_that_never_wins_is_dismissed_by_the_first_chunk() -> None:
    two: Any = Fixed([1.0, 0.0], [1] * 30)
    first = next(race(two, SPACE.grid()[:2]))
    assert first.dismissed.tolist() == [1]
    assert first.left.tolist() == [0]


def test_images_without_a_class_are_left_out() -> None:
    few: Any = Fixed([1.0], [0, 2, 0, 1])
    list(race(few, SPACE.grid()[:1]))
    assert sorted(few.images) == [1, 3]
    none: Any = Fixed([1.0], [0, 0])
    with pytest.raises(OvssError, match="no image has a class"):
        next(race(none, SPACE.grid()[:1]))


def test_another_number_of_trials_is_another_race(tmp_path: Path) -> None:
    file = tmp_path / "trials.sqlite"
    for trials in (34, 100, 20):
        plan = Plan(trials=trials, seed=4, race=True)
        fresh, again = Odds(), Odds()
        alone = search(fresh, SPACE, plan)  # type: ignore[arg-type]
        assert search(again, SPACE, plan, storage=file) == alone  # type: ignore[arg-type]
        assert again.judged == fresh.judged


def test_an_interrupted_race_goes_on(tmp_path: Path) -> None:
    plan, file = Plan(trials=40, seed=2, race=True), tmp_path / "trials.sqlite"
    alone: Any = Odds()
    whole = search(alone, SPACE, plan)
    first: Any = Odds(stop=800)
    with pytest.raises(KeyboardInterrupt):
        search(first, SPACE, plan, storage=file)
    second: Any = Odds()
    result = search(second, SPACE, plan, storage=file)
    assert result == whole
    assert first.judged + second.judged == alone.judged
    third: Any = Odds()
    assert search(third, SPACE, plan, storage=file) == whole
    assert third.judged == []
    assert {t.candidate for t in (*result.trials, *result.dismissed)} == set(drawn(SPACE, 40, 2))
    assert result.best.candidate not in {trial.candidate for trial in result.dismissed}
