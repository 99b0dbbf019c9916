"""The search: complete, reproducible, resumable, shared; and what it draws from."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ovsslib.errors import OvssError
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.search import (
    BLURS,
    THRESHOLDS,
    Plan,
    Search,
    Space,
    Trial,
    drawn,
    search,
)

SPACE = Space.of(3, 4)


def value(candidate: Candidate) -> float:
    """Best at layer 2, head 3, threshold 0.25, blur 0.05."""
    return -(
        abs(candidate.layer - 2)
        + abs((candidate.head or 0) - 3)
        + 10 * abs(candidate.threshold - 0.25)
        + 10 * abs(candidate.blur - 0.05)
    )


def values(candidates: Sequence[Candidate]) -> list[float]:
    return [value(candidate) for candidate in candidates]


class Counting:
    """An objective that notes what it was asked."""

    def __init__(self, stop: int | None = None) -> None:
        self.asked: list[Candidate] = []
        self.stop = stop

    def values(self, candidates: Sequence[Candidate]) -> list[float]:
        if self.stop is not None and len(self.asked) >= self.stop:
            raise KeyboardInterrupt
        self.asked += candidates
        return values(candidates)


def counted(stop: int | None = None) -> Any:
    return Counting(stop)


def test_the_space_is_table_2() -> None:
    assert THRESHOLDS == (0.05, 0.15, 0.25, 0.35, 0.45)
    assert BLURS == (0.01, 0.03, 0.05, 0.07, 0.09, 0.11)
    grid = Space.of(12, 12).grid()
    assert len(set(grid)) == len(grid) == 12 * 12 * 5 * 6
    assert Candidate(8, 10, 0.15, 0.05) in grid
    assert {candidate.head for candidate in Space.of(1, 2, mean=True).grid()} == {None, 1, 2}
    mean = Space.of(1, 2, mean=True)
    assert Space.from_dict(json.loads(json.dumps(mean.to_dict()))) == mean
    with pytest.raises(OvssError, match=r"heads must be .* of length >= 1"):
        Space((1,), ())


def test_random_search_draws_without_repeating() -> None:
    one, other = drawn(SPACE, 34, 0), drawn(SPACE, 34, 1)
    assert len(set(one)) == 34
    assert one == drawn(SPACE, 34, 0) != other
    assert one[:10] == drawn(SPACE, 10, 0)
    assert len(drawn(SPACE, 10_000, 0)) == len(SPACE.grid())
    ask = counted()
    found = search(ask, SPACE, Plan(seed=0))
    assert sorted(ask.asked, key=one.index) == one
    assert [trial.candidate for trial in found.trials] == one
    assert found.best.value == max(map(value, one))


def test_the_grid_finds_the_best_of_all() -> None:
    found = search(counted(), SPACE, Plan("grid"))
    assert len(found.trials) == len(SPACE.grid())
    assert found.best == Trial(Candidate(2, 3, 0.25, 0.05), 0.0)


def test_tpe_learns() -> None:
    ask = counted()
    found = search(ask, SPACE, Plan("tpe", trials=60, seed=1))
    assert len(ask.asked) == len(set(ask.asked)) <= 60
    assert found.best.value > -2.0
    late = [value(candidate) for candidate in ask.asked[-20:]]
    early = [value(candidate) for candidate in ask.asked[:20]]
    assert sum(late) / len(late) > sum(early) / len(early)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_an_interrupted_search_goes_on(
    tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovsslib.tuning.trials.BATCH", 4)
    plan, file = Plan(sampler, trials=20, seed=3), tmp_path / "deep" / "trials.sqlite"
    first = counted(stop=8)
    with pytest.raises(KeyboardInterrupt):
        search(first, SPACE, plan, storage=file)
    assert len(first.asked) == 8
    second = counted()
    found = search(second, SPACE, plan, storage=file)
    assert not set(first.asked) & set(second.asked)
    if sampler == "random":
        assert {t.candidate for t in found.trials} == set(drawn(SPACE, 20, 3))
    third = counted()
    assert search(third, SPACE, plan, storage=file).trials == found.trials
    assert third.asked == []
    other = counted()
    search(other, SPACE, plan, storage=file, name="another objective")
    assert other.asked


def work(file: str) -> int:
    """A search in a process of its own."""
    return len(search(counted(), SPACE, Plan(trials=24), storage=Path(file)).trials)


def test_several_processes_share_a_search(tmp_path: Path) -> None:
    file = str(tmp_path / "trials.sqlite")  # which the first of them makes
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        list(pool.map(work, [file] * 2))
    found = search(counted(), SPACE, Plan(trials=24), storage=Path(file))
    assert {t.candidate for t in found.trials} == set(drawn(SPACE, 24, 0))


def test_progress_counts_trials() -> None:
    seen: list[object] = []

    def progress(items: object, description: str, total: int) -> object:
        seen.extend([description, total])
        for item in items:
            seen.append(item)
            yield item

    search(counted(), SPACE, Plan(trials=5), progress=progress)
    assert seen == ["trials", 5, None, None, None, None, None]


def test_what_cannot_be() -> None:
    with pytest.raises(OvssError, match="unknown sampler 'ranom'; did you mean 'random'"):
        Plan("ranom")
    with pytest.raises(OvssError, match="trials must be int >= 1"):
        Plan(trials=0)
    with pytest.raises(OvssError, match="no finished trial"):
        Search(()).best  # noqa: B018
