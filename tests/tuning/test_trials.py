"""Optuna's part: what is stored, what is asked, and files that hold no studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.search import Space
from ovsslib.tuning.trials import ask_planned, finished, open_study

GRID = Space.of(2, 2, mean=True).grid()


def value(candidates: Sequence[Candidate]) -> list[float]:
    return [one.layer + one.threshold for one in candidates]


@pytest.mark.parametrize("kept", [False, True])
def test_candidates_come_back_as_they_were(tmp_path: Path, kept: bool) -> None:
    file = tmp_path / "trials.sqlite" if kept else None
    planned = GRID[::7]
    study = open_study("random", 0, file, "a")
    assert finished(study) == {}
    assert len(list(ask_planned(study, value, GRID, planned, 4))) == len(planned)
    if kept:
        study = open_study("random", 0, file, "a")
    found = finished(study)
    assert set(found) == set(planned)
    assert {one.head for one in found} == {None, 1, 2}
    assert all(found[one] == value([one])[0] for one in planned)


def test_what_another_process_did_is_not_asked_again(tmp_path: Path) -> None:
    file, planned, asked = tmp_path / "trials.sqlite", GRID[:12], []

    def meanwhile(candidates: Sequence[Candidate]) -> list[float]:
        """While the first batch is judged, another process judges six others."""
        if not asked:
            rest = [one for one in planned if one not in candidates][:6]
            other = open_study("random", 0, file, "a")
            list(ask_planned(other, value, GRID, rest, 6))
        asked.extend(candidates)
        return value(candidates)

    steps = list(ask_planned(open_study("random", 0, file, "a"), meanwhile, GRID, planned, 3))
    assert len(steps) == 12
    assert len(asked) == 6
    assert set(finished(open_study("random", 0, file, "a"))) == set(planned)


def test_an_objective_that_fails_stores_nothing_wrong(tmp_path: Path) -> None:
    file = tmp_path / "trials.sqlite"

    def fails(candidates: Sequence[Candidate]) -> list[float]:
        raise OvssError(f"{len(candidates)} cannot be judged")

    with pytest.raises(OvssError, match="4 cannot be judged"):
        list(ask_planned(open_study("random", 0, file, "a"), fails, GRID, GRID, 4))
    assert finished(open_study("random", 0, file, "a")) == {}


def test_a_file_that_is_no_storage(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("this is no data base, but it is long enough to be read" * 9)
    with pytest.raises(OvssError, match=r"a\.sqlite: the trials cannot be kept there"):
        open_study("random", 0, tmp_path / "a.sqlite", "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(OvssError, match="cannot be kept there"):
        open_study("random", 0, tmp_path / "file" / "a.sqlite", "a")
