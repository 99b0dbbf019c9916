"""The search: complete, reproducible, resumable, shared; and what it draws from."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.search import BLURS, THRESHOLDS, Plan, Search, Space, Trial, drawn, search

SPACE = Space.of(3, 4)


def value(candidate: Candidate) -> float:
    """Best at layer 2, head 3, threshold 0.25, blur 0.05."""
    return -(
        abs(candidate.layer - 2)
        + abs((candidate.head or 0) - 3)
        + 10 * abs(candidate.threshold - 0.25)
        + 10 * abs(candidate.blur - 0.05)
    )


class Counting:
    """The objective, and what it was asked."""

    def __init__(self, stop: int | None = None) -> None:
        self.asked: list[Candidate] = []
        self.stop = stop

    def __call__(self, candidates: Sequence[Candidate]) -> list[float]:
        if self.stop is not None and len(self.asked) >= self.stop:
            raise KeyboardInterrupt
        self.asked += candidates
        return [value(candidate) for candidate in candidates]


def test_the_space_is_table_2() -> None:
    assert THRESHOLDS == (0.05, 0.15, 0.25, 0.35, 0.45)
    assert BLURS == (0.01, 0.03, 0.05, 0.07, 0.09, 0.11)
    grid = Space.of(12, 12).grid()
    assert len(set(grid)) == len(grid) == 12 * 12 * 5 * 6
    assert Candidate(8, 10, 0.15, 0.05) in grid
    assert {candidate.head for candidate in Space.of(1, 2, mean=True).grid()} == {None, 1, 2}
    several = Space.of(1, 4, several=3)
    assert several.heads[:6] == (1, 2, 3, 4, (1, 2), (1, 3))
    assert len(several.heads) == 4 + 6 + 4
    assert Space.of(1, 2, several=2).heads == (None, 1, 2)
    assert Space.from_dict(json.loads(json.dumps(several.to_dict()))) == several
    with pytest.raises(OvssError, match="1 or more"):
        Space.of(1, 4, several=0)
    with pytest.raises(OvssError, match="no heads"):
        Space((1,), ())


def test_random_search_draws_without_repeating() -> None:
    one, other = drawn(SPACE, 34, 0), drawn(SPACE, 34, 1)
    assert len(set(one)) == 34
    assert one == drawn(SPACE, 34, 0) != other
    assert one[:10] == drawn(SPACE, 10, 0)
    assert len(drawn(SPACE, 10_000, 0)) == len(SPACE.grid())
    ask = Counting()
    found = search(ask, SPACE, Plan(seed=0))
    assert sorted(ask.asked, key=one.index) == one
    assert [trial.candidate for trial in found.trials] == one
    assert found.best.value == max(map(value, one))


def test_the_grid_finds_the_best_of_all() -> None:
    found = search(Counting(), SPACE, Plan("grid"), batch=100)
    assert len(found.trials) == len(SPACE.grid())
    assert found.best == Trial(Candidate(2, 3, 0.25, 0.05), 0.0)


def test_tpe_learns() -> None:
    ask = Counting()
    found = search(ask, SPACE, Plan("tpe", trials=60, seed=1))
    assert len(ask.asked) == len(set(ask.asked)) <= 60
    assert found.best.value > -2.0
    late = [value(candidate) for candidate in ask.asked[-20:]]
    early = [value(candidate) for candidate in ask.asked[:20]]
    assert sum(late) / len(late) > sum(early) / len(early)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_an_interrupted_search_goes_on(tmp_path: Path, sampler: str) -> None:
    plan, file = Plan(sampler, trials=20, seed=3), tmp_path / "deep" / "trials.sqlite"
    first = Counting(stop=8)
    with pytest.raises(KeyboardInterrupt):
        search(first, SPACE, plan, storage=file, batch=4)
    assert len(first.asked) == 8
    second = Counting()
    found = search(second, SPACE, plan, storage=file, batch=4)
    assert not set(first.asked) & set(second.asked)
    if sampler == "random":
        assert {t.candidate for t in found.trials} == set(drawn(SPACE, 20, 3))
    third = Counting()
    assert search(third, SPACE, plan, storage=file).trials == found.trials
    assert third.asked == []
    other = Counting()
    search(other, SPACE, plan, storage=file, name="another objective")
    assert other.asked


def slow(candidates: Sequence[Candidate]) -> list[float]:
    time.sleep(0.1)
    return [value(candidate) for candidate in candidates]


def work(file: str) -> int:
    return len(search(slow, SPACE, Plan(trials=24), storage=Path(file), batch=2).trials)


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_several_heads_are_kept_in_a_file(tmp_path: Path, sampler: str) -> None:
    space, plan = Space.of(1, 3, mean=True, several=2), Plan(sampler, trials=30)

    def fits(candidates: Sequence[Candidate]) -> list[float]:
        return [float(one.head == (1, 3)) - one.blur for one in candidates]

    found = search(fits, space, plan, storage=tmp_path / "t.sqlite", batch=300)
    assert search(Counting(stop=0), space, plan, storage=tmp_path / "t.sqlite") == found
    assert {trial.candidate.head for trial in found.trials} <= set(space.heads)
    if sampler == "grid":
        assert (found.best.candidate.head, found.best.candidate.blur) == ((1, 3), 0.01)


def test_several_processes_share_a_search(tmp_path: Path) -> None:
    file = str(tmp_path / "trials.sqlite")
    search(slow, SPACE, Plan(trials=2), storage=Path(file))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        list(pool.map(work, [file] * 2))
    found = search(Counting(), SPACE, Plan(trials=24), storage=Path(file))
    assert {t.candidate for t in found.trials} == set(drawn(SPACE, 24, 0))


def test_progress_counts_trials() -> None:
    seen: list[object] = []

    def progress(items: object, description: str, total: int) -> object:
        seen.extend([description, total])
        for item in items:
            seen.append(item)
            yield item

    search(Counting(), SPACE, Plan(trials=5), progress=progress)
    assert seen == ["trials", 5, None, None, None, None, None]


def test_what_cannot_be() -> None:
    with pytest.raises(OvssError, match="unknown sampler 'ranom'; did you mean 'random'"):
        Plan("ranom")
    with pytest.raises(OvssError, match="trials must be 1 or more"):
        Plan(trials=0)
    with pytest.raises(OvssError, match="no finished trial"):
        Search(()).best  # noqa: B018
