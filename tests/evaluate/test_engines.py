"""Every engine gives every result once, whatever happens to its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate.engines import HERE, SLOT, Engine, run_all

ENGINES = [HERE, Engine(workers=2), Engine(workers=2, dask="local")]
KINDS = ["here", "processes", "dask"]


def square(number: int) -> int:
    return number * number


def slot(_: int) -> tuple[str | None, int]:
    time.sleep(0.05)
    return os.environ.get(SLOT), os.getpid()


def die_once(task: tuple[str, int]) -> int:
    """The first call with a number kills its process, the next gives its square."""
    folder, number = task
    mark = Path(folder) / str(number)
    if number % 5 == 2 and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> int:
    if number == 3:
        raise OvssError("three is refused; take four")
    return number


@pytest.mark.parametrize("engine", ENGINES, ids=KINDS)
def test_every_job_is_done_once(engine: Engine) -> None:
    told: list[str] = []
    assert sorted(run_all(square, range(20), engine, told.append)) == [n * n for n in range(20)]
    assert len(told) == (engine.dask is not None)
    if told:
        assert told[0].startswith("Dask dashboard: http://")
    assert list(run_all(square, [], engine)) == []


@pytest.mark.parametrize("engine", ENGINES, ids=KINDS)
def test_an_error_ends_it_and_arrives_whole(engine: Engine) -> None:
    with pytest.raises(OvssError, match="three is refused; take four"):
        list(run_all(refuse, range(6), engine))


@pytest.mark.parametrize("engine", ENGINES[1:], ids=KINDS[1:])
def test_killed_workers_lose_nothing(engine: Engine, tmp_path: Path) -> None:
    jobs = [(str(tmp_path), number) for number in range(10)]
    found = sorted(run_all(die_once, jobs, engine))
    assert found == [n * n for n in range(10)]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("engine", ENGINES[1:], ids=KINDS[1:])
def test_workers_that_always_die_end_the_run(engine: Engine) -> None:
    with pytest.raises(OvssError, match=r"died 4 times .* the same command continues"):
        list(run_all(die, range(2), engine))


def test_processes_are_numbered_for_their_gpus() -> None:
    found = set(run_all(slot, range(12), Engine(workers=2)))
    assert {number for number, _ in found} == {"0", "1"}
    assert len({process for _, process in found}) == 2
    assert SLOT not in os.environ


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_engines import Engine, run_all, sleeper\n"
        "if __name__ == '__main__':\n"
        f"    list(run_all(sleeper, [{str(tmp_path)!r}] * 2, Engine(workers=2)))\n"
    )
    parent = subprocess.Popen([sys.executable, str(program)])
    pids = _wait_for(lambda: [int(p.name) for p in tmp_path.glob("[0-9]*")], 2, seconds=60)
    parent.kill()
    parent.wait()
    assert _wait_for(lambda: [p for p in pids if not _alive(p)], 2, seconds=30)


def sleeper(folder: str) -> None:
    (Path(folder) / str(os.getpid())).write_text("")
    time.sleep(300)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(found: object, count: int, *, seconds: float) -> list[int]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = found()  # type: ignore[operator]
        if len(got) >= count:
            return got
        time.sleep(0.1)
    raise AssertionError(f"not {count} within {seconds} s")


def test_wrong_engines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="workers must be int from 0 to 1024"):
        Engine(workers=-1)
    with pytest.raises(OvssError, match="choose one of"):
        Engine(dask="local", slurm=Path("a.yml"))
    with pytest.raises(OvssError, match=r"a\.yml: cannot be read .*check the path"):
        list(run_all(square, [1], Engine(slurm=tmp_path / "a.yml")))
    (tmp_path / "b.yml").write_text("- cores\n")
    with pytest.raises(OvssError, match="key: value lines"):
        list(run_all(square, [1], Engine(slurm=tmp_path / "b.yml")))
    (tmp_path / "c.yml").write_text("corse: 4\n")
    with pytest.raises(OvssError, match=r"c\.yml: SLURM cannot be used"):
        list(run_all(square, [1], Engine(slurm=tmp_path / "c.yml")))


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from ovsslib.evaluate import engines as parallel

    monkeypatch.setattr(parallel, "WAIT", "2s")
    with pytest.raises(OvssError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(run_all(square, [1], Engine(dask="tcp://127.0.0.1:9")))
