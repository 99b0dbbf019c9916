"""A Diorama benchmark through SLURM, one of whose jobs is killed, ends with the serial figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from support.slurm_cluster import Cluster, SlurmError, wait_for

PROFILE = Path(__file__).with_name("profile.yml")
RUN = "run --vlm micro-blip --dataset diorama --limit 40 --shard-size 2 --device cpu --json".split()
SHARDS = 20


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """``ovss run`` in the background; its folder takes results and the jobs' logs."""
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "ovsslib", *RUN, "--out", str(folder), *more],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=(folder / "out.txt").open("w"),
        stderr=(folder / "err.txt").open("w"),
        text=True,
    )


def finish(run: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    """The results file of a run that ends well, without what tells where and when it ran."""
    assert run.wait(300) == 0, said(folder)
    (stored,) = folder.glob("*.json")
    record = json.loads(stored.read_text())
    assert json.loads((folder / "out.txt").read_text()) == record
    for name in ("provenance", "seconds", "stages"):
        record.pop(name, None)
    return record


def said(folder: Path) -> str:
    files = [folder / "err.txt", *sorted(folder.glob("worker-*.log"))]
    return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in files)


def shards(folder: Path) -> int:
    return len(list(folder.glob("shards/*/[!.]*.parquet")))


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runs") / "serial"
    return folder, finish(start(folder), folder)


def same_tables(one: Path, two: Path) -> None:
    names = sorted(path.name for path in one.glob("*.parquet"))
    assert {"classes", "images"} <= {name.split(".")[-2] for name in names}
    assert names == sorted(path.name for path in two.glob("*.parquet"))
    for name in names:
        assert pq.read_table(one / name).equals(pq.read_table(two / name)), name


@pytest.mark.parametrize(("signal", "workers", "refine"), [("TERM", 2, 0), ("KILL", 1, 1)])
def test_a_killed_job_changes_no_figure(
    slurm: Cluster,
    serial: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    signal: str,
    workers: int,
    refine: int,
) -> None:
    before = set(slurm.states())
    folder = tmp_path / "slurm"
    numbers = f"--workers {workers} --refine-workers {refine}"
    run = start(folder, "--dask-slurm", str(PROFILE), *numbers.split())
    try:
        # All jobs run and something is done: midway.
        wait_for(
            lambda: (
                run.poll() is not None
                or (shards(folder) > 0 and len(slurm.jobs("RUNNING")) == workers)
            ),
            "the first shard",
            120,
        )
        victim = slurm.jobs("RUNNING")[0]
        # TERM: scancel, or the end of the time limit. KILL: too much memory, as a rule.
        slurm.call("scancel", *(["--signal=KILL", "--full"] if signal == "KILL" else []), victim)
        assert shards(folder) < SHARDS
        record = finish(run, folder)
    except SlurmError as error:
        pytest.fail(f"{error}\n{said(folder)}")
    finally:
        run.kill()
        run.wait()
    assert record == serial[1]
    same_tables(serial[0], folder)
    wait_for(lambda: not slurm.jobs(), "the end of all jobs")
    states = slurm.states()
    assert states[victim] == "CANCELLED"
    # Alone, it must have been replaced; beside another, that one may have done the rest first.
    assert len(set(states) - before) >= 2
