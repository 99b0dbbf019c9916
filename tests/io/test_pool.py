"""Order, laziness and faults of work in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.io.pool import close, ordered
from support.helpers import ROOT


def slow_square(x: int) -> int:
    time.sleep(0.02 * (x % 3))
    return x * x


def fails(x: int) -> int:
    if x == 2:
        raise OvssError("task 2 cannot be done")
    return x


def dies(x: int) -> int:
    if x == 2:
        os._exit(1)
    return x


@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_errors(workers: int) -> None:
    assert list(ordered(slow_square, range(9), workers)) == [x * x for x in range(9)]
    with pytest.raises(OvssError, match="task 2"):
        list(ordered(fails, range(5), workers))


def test_tasks_are_drawn_as_needed() -> None:
    drawn: list[int] = []

    def tasks() -> object:
        for x in range(50):
            drawn.append(x)
            yield x

    results = ordered(abs, tasks(), 2)
    next(results)
    assert len(drawn) <= 8
    results.close()


def test_a_dead_worker_is_one_line() -> None:
    with pytest.raises(OvssError, match="worker processes died"):
        list(ordered(dies, range(5), 1))


PROGRAMS = {
    "ordered": "from ovsslib.io.pool import ordered\nprint(sorted(ordered(abs, [-1, 2], 1)))",
    "processes": "from ovsslib.evaluate.engines import Engine, run_all\n"
    "print(sorted(run_all(abs, [-1, 2], Engine(1))))",
    "dask": "from ovsslib.evaluate.engines import Engine, run_all\n"
    "print(sorted(run_all(abs, [-1, 2], Engine(1, dask='local'))))",
    "run": "from ovsslib.evaluate.engines import Engine\n"
    "from ovsslib.evaluate.resume import run_sharded\n"
    "from ovsslib.evaluate.spec import RunSpec\n"
    "print(run_sharded({'a': RunSpec(limit=1)}, 'shards', engine=Engine(1)))",
    "train": "from pathlib import Path\nfrom ovsslib.miniature.training.cache import prepare\n"
    "print(list(prepare(Path('cache'), 'heldout', 1, workers=1)))",
}
GUARD = "if __name__ == '__main__':"
FILE, INPUT, COMMAND = (["program.py"], [], ["-c"])


def run(folder: Path, program: str, how: list[str]) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(program)
    words = [*how, program] if how == COMMAND else how
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        input=None if how else program,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_program_without_a_guard_is_told_what_to_write(tmp_path: Path, kind: str) -> None:
    done = run(tmp_path, PROGRAMS[kind], FILE)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert "put its code under `if __name__ ==" in last
    assert done.stderr.count("Traceback") <= 2  # that of the program, and its cause
    assert done.stdout == ""


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_program_from_standard_input_is_no_file(tmp_path: Path, kind: str) -> None:
    done = run(tmp_path, PROGRAMS[kind], INPUT)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert "<stdin> is no file; save the program as one" in last
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize("kind", ["ordered", "processes", "dask"])
def test_programs_that_may_start_processes(tmp_path: Path, kind: str) -> None:
    """With a guard, on the command line, or with the start within a function."""
    start, call = PROGRAMS[kind].split("\n")
    guarded = f"{start}\ndef main():\n    {call}\n{GUARD}\n    main()\n"
    assert run(tmp_path, guarded, FILE).stdout == "[1, 2]\n"
    assert run(tmp_path, PROGRAMS[kind], COMMAND).stdout == "[1, 2]\n"


@pytest.mark.parametrize("kind", ["ordered", "processes", "dask"])
def test_a_program_that_fails_in_its_workers(tmp_path: Path, kind: str) -> None:
    start, call = PROGRAMS[kind].split("\n")
    broken = f"{start}\n{GUARD}\n    {call}\nelse:\n    raise SystemExit('not twice')\n"
    done = run(tmp_path, broken, FILE)
    assert "worker processes die at their start (exit status 1)" in done.stderr.splitlines()[-1]
    assert "not twice" in done.stderr


def test_negative_workers() -> None:
    with pytest.raises(OvssError, match="workers must be int from 0 to 1024, got -1"):
        list(ordered(abs, [1], -1))


def test_the_environment_is_as_before() -> None:
    before = dict(os.environ)
    list(ordered(abs, [1], 1))
    assert dict(os.environ) == before


def process(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def test_processes_may_be_kept_for_the_next_call() -> None:
    first = set(ordered(process, range(6), 2, keep=True))
    assert set(ordered(process, range(6), 2, keep=True)) <= first
    assert not set(ordered(process, range(6), 2)) & first
    with pytest.raises(OvssError, match="worker processes died"):
        list(ordered(dies, range(5), 2, keep=True))
    again = set(ordered(process, range(6), 2, keep=True))
    assert not again & first, "a broken pool is not kept"
    close()
    for _ in range(100):
        if not any(os.path.exists(f"/proc/{pid}") for pid in again):
            break
        time.sleep(0.1)
    assert not set(ordered(process, range(6), 2, keep=True)) & again
    close()
