"""`ovss bench dask`: dry shards, whole and done once. No time is compared with another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ovsslib.bench import engines as bench
from ovsslib.cli.main import app
from ovsslib.errors import OvssError
from ovsslib.evaluate import shard_file as shards
from ovsslib.evaluate.engines import HERE, Engine
from ovsslib.evaluate.spec import RunSpec


def ovss(words: str, *more: object) -> Any:
    return CliRunner().invoke(app, ["bench", *words.split(), *map(str, more)])


def test_jobs_are_as_a_run_hands_them_out(tmp_path: Path) -> None:
    jobs = bench.dry_jobs(3, 4, tmp_path)
    assert [(job.shard.start, job.shard.stop) for job in jobs] == [(0, 4), (4, 8), (8, 12)]
    spec = RunSpec.from_dict(json.loads(jobs[0].specs)["run"])
    assert (spec.dataset, spec.filter) == ("coco-stuff", "all")
    assert len({job.files["run"] for job in jobs}) == 3
    assert len(jobs[0].code) == 64


def test_a_stored_dry_shard_is_a_real_one(tmp_path: Path) -> None:
    jobs = bench.dry_jobs(2, 2, tmp_path)
    assert [bench.store(job)[0] for job in jobs] == [0, 1]
    merged = shards.merge([shards.read(Path(job.files["run"])) for job in jobs])
    assert merged.counts.truth.shape == (4, 172)
    assert merged.boundary is not None
    assert merged.confusion is not None
    assert (merged.confusion.sum(1) == merged.counts.truth.sum(0)).all()
    assert 0 < np.trace(merged.confusion) < merged.confusion.sum()


@pytest.mark.parametrize("engine", [HERE, Engine(workers=1)], ids=["here", "processes"])
def test_timing_counts_every_shard(engine: Engine, tmp_path: Path) -> None:
    row = bench.timed(bench.nothing, bench.dry_jobs(5, 1, tmp_path), engine)
    assert row["complete"] is True
    assert row["shards"] == 5
    assert row["rate"] == pytest.approx(1 / row["seconds"])
    assert row["start"] + 4 * row["seconds"] <= row["total"] + 1e-6
    assert 0 < row["memory"]["before"] <= row["memory"]["most"]


def test_a_lost_shard_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "run_all", lambda function, jobs, _: map(function, [*jobs[1:]] * 2))
    row = bench.timed(bench.nothing, bench.dry_jobs(3, 1, tmp_path), HERE)
    assert row["complete"] is False


def test_record_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "COMPARED", 4)
    done = ovss("dask --shards 6 --workers 1", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "each shard was done once" in done.stdout
    record = json.loads((tmp_path / "dask.json").read_text())
    assert record["kind"] == "bench-dask"
    assert record["settings"] == {
        **{"shards": 6, "compared": 4, "workers": 1, "pictures": 4, "labels": 172},
    }
    rows = {(row["job"], row["engine"]): row for row in record["rows"]}
    assert set(rows) == {
        (job, engine) for job in ("nothing", "store") for engine in ("serial", "processes", "dask")
    }
    assert rows["nothing", "dask"]["shards"] == 6
    assert rows["store", "processes"]["shards"] == 4
    for job in ("nothing", "store"):
        assert rows[job, "serial"]["overhead"] == 0
        alone = rows[job, "serial"]["seconds"]
        dask = rows[job, "dask"]
        assert dask["overhead"] == pytest.approx(dask["seconds"] - alone)
    assert 300 < record["job_bytes"] < 5000
    assert record["file"]["pictures"] == 32
    assert 10_000 < record["file"]["bytes"] < 1_000_000
    assert record["refinement"]["memory"] > 50e6


def test_numbers_out_of_range() -> None:
    assert ovss("dask --shards 1").exit_code == 2
    with pytest.raises(OvssError, match="workers must be int from 1 to 1024"):
        bench.overhead(5, 0)
