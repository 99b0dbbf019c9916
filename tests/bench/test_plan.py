"""The plan is arithmetic: by hand, at its limits, and with the commands that it prints."""

from __future__ import annotations

import inspect
import json
import re

import nbformat
import pytest
import typer
import yaml

from ovsslib.bench import plan as scale
from ovsslib.bench.plan import Cost, Fixed, Worker
from ovsslib.errors import OvssError
from support.helpers import ROOT

COST = Cost(flops=1e12, read=0.01, refine=0.9, score=0.1)
WORKER = Worker(peak=100e12, share=0.25, cores=10)
"""Salience: 0.04 s and 0.01 s for reading, 20 pictures/s; refinement: 10 pictures/s."""


def options(command: typer.core.TyperCommand) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def notebook_text() -> str:
    found = nbformat.read(ROOT / "notebooks" / "11_scale.ipynb", as_version=4)
    return "\n".join(cell.source for cell in found.cells)


def test_a_workers_pace() -> None:
    assert WORKER.salience(COST) == pytest.approx(20)
    assert WORKER.refinement(COST) == pytest.approx(10)
    assert WORKER.cores_to_keep_up(COST) == 20


def test_a_plan_by_hand() -> None:
    fixed = Fixed(run=5.0, shard=2.0, scheduler=0.1)
    found = scale.plan(1000, 4, COST, WORKER, fixed, size=100)
    # 10 shards, 3 on the busiest; each 2 s, 100 images at 10 a second, 0.1 s to be handed out
    assert (found.shards, found.size, found.gpus) == (10, 100, 4)
    assert found.seconds == pytest.approx(5 + 3 * 12.1)
    assert found.even == pytest.approx(10 / 12)
    assert found.busy == pytest.approx(1000 * 0.04 / (4 * found.seconds))
    assert found.demand == pytest.approx(10 / 36.3)
    assert found.load == pytest.approx(1 / 36.3)


def test_more_cores_than_needed_leave_salience_as_the_pace() -> None:
    rich = Worker(100e12, 0.25, 1000)
    assert scale.plan(100, 1, COST, rich, size=100).seconds == pytest.approx(5)


def test_more_gpus_never_take_longer_and_no_time_vanishes() -> None:
    fixed = Fixed(5.0, 2.0, 0.01)
    times = [scale.plan(5000, gpus, COST, WORKER, fixed).seconds for gpus in (1, 2, 8, 64, 500)]
    assert times == sorted(times, reverse=True)
    # more workers than shards: one shard's time is left
    assert times[-1] == pytest.approx(5 + 2 + 3.2 + 157 * 0.01, abs=2)


def test_a_slow_scheduler_sets_the_pace() -> None:
    found = scale.plan(1000, 100, COST, WORKER, Fixed(scheduler=10.0), size=1)
    assert found.seconds == pytest.approx(10_000, rel=0.02)
    assert 0.98 < found.load <= 1


def test_the_best_size_is_a_trade() -> None:
    fixed, sizes = Fixed(shard=2.0), (1, 8, 32, 128, 512)
    alone = scale.best(5000, 1, COST, WORKER, fixed, sizes)
    many = scale.best(5000, 64, COST, WORKER, fixed, sizes)
    assert alone.size > many.size
    assert many.seconds <= scale.plan(5000, 64, COST, WORKER, fixed).seconds
    assert scale.best(10, 1, COST, WORKER, Fixed(), (1, 2, 5)).size == 5
    with pytest.raises(OvssError, match="size"):
        scale.best(10, 1, COST, WORKER, fixed, ())


def test_a_shard_is_never_larger_than_the_data_set() -> None:
    found = scale.plan(3, 1, COST, WORKER, size=100)
    assert (found.size, found.shards) == (3, 1)
    assert found.seconds == pytest.approx(0.3)


def test_refinement_between_and_beyond_what_was_measured() -> None:
    record = json.loads((ROOT / "data/benchmarks/refine.json").read_text())
    rows = [row for row in record["rows"] if row["size"] == "500x375"]
    for row in rows:
        found = scale.refine_seconds(record["rows"], row["classes"])
        assert found == pytest.approx(row["total"] / 1000)
    line = [{"size": "9x9", "classes": k, "total": 100.0 + 10 * k} for k in (20, 1, 5)]
    assert scale.refine_seconds(line, 3, "9x9") == pytest.approx(0.13)
    assert scale.refine_seconds(line, 0, "9x9") == pytest.approx(0.1)
    with pytest.raises(OvssError, match="ovss bench refine --size 7x7"):
        scale.refine_seconds(line, 3, "7x7")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Cost(-1, 0, 1, 0), "costs must be 0 or more"),
        (lambda: Cost(1, 0, 0, 0), "nothing"),
        (lambda: Worker(1e12, 0, 1), "share"),
        (lambda: Worker(1e12, 1.5, 1), "share"),
        (lambda: Worker(1e12, 0.5, 0), "core"),
        (lambda: scale.plan(0, 1, COST, WORKER), "1 or more"),
        (lambda: scale.plan(1, 0, COST, WORKER), "1 or more"),
        (lambda: scale.pictures("coco-stuf"), "did you mean 'coco-stuff'"),
        (lambda: scale.pictures("voc21", "test"), "unknown split"),
    ],
)
def test_what_cannot_be(call: object, message: str) -> None:
    with pytest.raises(OvssError, match=message):
        call()  # type: ignore[operator]


def test_pictures_of_the_papers_table() -> None:
    found = [scale.pictures(name) for name in scale.TABLE]
    assert found == [1449, 5105, 5000, 5000, 2000]


@pytest.mark.parametrize("dataset", scale.TABLE)
def test_commands_have_options_that_exist(dataset: str) -> None:
    from ovsslib.cli.run import run

    text = scale.command(dataset, workers=8, refine=16, where="--dask-slurm slurm.yml")
    known = set(re.findall(r"--[a-z-]+", inspect.getsource(run)))
    known |= {f"--{name.replace('_', '-')}" for name in inspect.signature(run).parameters}
    assert set(re.findall(r"--[a-z-]+", text)) <= known
    assert "--workers" not in scale.command(dataset)


def test_the_pages_profile_is_one_for_slurm() -> None:
    text = notebook_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    profile = yaml.safe_load(block)
    tested = yaml.safe_load((ROOT / "tests/slurm/profile.yml").read_text())
    assert {"queue", "cores", "processes", "memory", "walltime", "interface"} <= set(profile)
    # what the test's cluster does not need: cores beside the one that computes shards
    assert set(profile) - set(tested) == {"job_cpu"}
    slurm = pytest.importorskip("dask_jobqueue.slurm")
    script = slurm.SLURMJob(scheduler="tcp://127.0.0.1:1", name="one", **profile).job_script()
    assert "--gres=gpu:1" in script
    assert f"--cpus-per-task={profile['job_cpu']}" in script
    assert "--nthreads 1 " in script
