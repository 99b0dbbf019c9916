"""A plain Dask computation through dask_jobqueue on a real SLURM, one of whose jobs is killed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from distributed import Client
from distributed.client import as_completed

from support.slurm_cluster import Cluster, SlurmError, install, wait_for

PROFILE = Path(__file__).with_name("profile.yml")


def test_who_may_not_install_is_told_what_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.slurm_cluster._SEARCHED", "")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(
        SlurmError, match=r"munged.* not found; run as root: apt-get install .*slurm"
    ):
        install()


def test_sbatch_runs_what_it_is_given(slurm: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\necho $((6 * 7)) > answer\n")
    job = slurm.call("sbatch", "--parsable", "--chdir", str(tmp_path), str(script))
    wait_for(lambda: slurm.states()[job] == "COMPLETED", "the job's end")
    assert (tmp_path / "answer").read_text() == "42\n"


def test_a_computation_outlives_its_jobs(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dask_jobqueue import SLURMCluster

    def slow_square(number: int) -> int:  # in here, as workers cannot import this file
        time.sleep(0.2)
        return number * number

    monkeypatch.chdir(tmp_path)  # where the workers' logs go
    before = set(slurm.states())
    with (
        SLURMCluster(**yaml.safe_load(PROFILE.read_text())) as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(minimum=2, maximum=2)
        client.wait_for_workers(2, timeout=120)
        first = slurm.jobs("RUNNING")
        assert len(first) == 2
        futures = client.map(slow_square, range(60), pure=False)
        done = as_completed(futures)
        for _ in range(10):
            next(done)
        slurm.call("scancel", first[0])
        assert sum(client.gather(futures)) == sum(n * n for n in range(60))
        # Adaptive clusters ask for another job in the lost one's place.
        wait_for(lambda: len(set(slurm.jobs("RUNNING")) - set(first)) == 1, "another job")
        client.wait_for_workers(2, timeout=120)
    wait_for(lambda: not slurm.jobs(), "the end of all jobs")
    states = slurm.states()
    assert states[first[0]] == "CANCELLED"
    assert len(set(states) - before) == 3
