"""The file of a search's trials: whatever its name, and whoever makes it first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.search import Space
from ovsslib.tuning.trials import Trials
from support.helpers import ROOT

GRID = Space.of(2, 2, mean=True).grid()


def value(candidate: Candidate) -> float:
    return candidate.layer + candidate.threshold - candidate.blur + (candidate.head or 0)


def values(candidates: Sequence[Candidate]) -> list[float]:
    return [value(candidate) for candidate in candidates]


@pytest.mark.parametrize("kept", [False, True])
def test_candidates_come_back_as_they_were(tmp_path: Path, kept: bool) -> None:
    file = tmp_path / "trials.sqlite" if kept else None
    planned = GRID[::7]
    trials = Trials(GRID, file, "a")
    assert trials.values() == {}
    assert len(list(trials.ask_planned(values, planned))) == len(planned)
    if kept:
        trials = Trials(GRID, file, "a")
    assert trials.values() == {candidate: value(candidate) for candidate in planned}
    assert {candidate.head for candidate in trials.values()} == {None, 1, 2}


def test_what_another_process_did_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, planned, asked = tmp_path / "trials.sqlite", GRID[:12], []
    monkeypatch.setattr("ovsslib.tuning.trials.BATCH", 3)

    def meanwhile(candidates: Sequence[Candidate]) -> list[float]:
        """While the first batch is judged, another process judges six others."""
        if not asked:
            rest = [candidate for candidate in planned if candidate not in candidates][:6]
            list(Trials(GRID, file, "a").ask_planned(values, rest))
        asked.extend(candidates)
        return values(candidates)

    steps = list(Trials(GRID, file, "a").ask_planned(meanwhile, planned))
    assert len(steps) == 12
    assert len(asked) == 6
    assert set(Trials(GRID, file, "a").values()) == set(planned)


def test_an_objective_that_fails_stores_nothing_wrong(tmp_path: Path) -> None:
    file = tmp_path / "trials.sqlite"

    def fails(candidates: Sequence[Candidate]) -> list[float]:
        raise OvssError(f"{len(candidates)} cannot be judged")

    with pytest.raises(OvssError, match="16 cannot be judged"):
        list(Trials(GRID, file, "a").ask_planned(fails, GRID))
    assert Trials(GRID, file, "a").values() == {}


def test_a_file_that_is_no_storage(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("this is no data base, but it is long enough to be read" * 9)
    with pytest.raises(OvssError, match=r"a\.sqlite: the trials cannot be kept there"):
        Trials(GRID, tmp_path / "a.sqlite", "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(OvssError, match="the folder cannot be made"):
        Trials(GRID, tmp_path / "file" / "a.sqlite", "a")


@pytest.mark.parametrize("name", ["a?b#c%20d", "?", ":memory:", "file:x?mode=memory"])
def test_names_are_taken_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    list(Trials(GRID, Path(name), "a").ask_planned(values, GRID[:2]))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(Trials(GRID, tmp_path / name, "a").values()) == 2


@pytest.mark.parametrize("name", ["sqlite:///x.db", "postgresql://host/x"])
def test_an_address_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OvssError, match=r"name a file such as .*, not an address"):
        Trials(GRID, Path(name), "a")
    assert list(tmp_path.iterdir()) == []


MAKE = """
import sys
from pathlib import Path
from ovsslib.tuning.search import Space
from ovsslib.tuning.trials import Trials
import optuna, sqlalchemy.pool, alembic.config
print("ready", flush=True)
sys.stdin.read()
print(len(Trials(Space.of(1, 1).grid(), Path(sys.argv[1]), "a").values()))
"""


def test_a_new_file_may_be_made_by_several_at_once(tmp_path: Path) -> None:
    """All have imported what they need before the first begins."""
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, str(tmp_path / "trials.sqlite")],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for maker in makers:
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        maker.stdin.close()
    for maker in makers:
        assert maker.stdout.read() == "0\n", maker.stderr.read()
        assert maker.wait() == 0
        maker.stdout.close()
        maker.stderr.close()
