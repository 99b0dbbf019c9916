"""Runs in shards: the same integers as in one piece, whoever computes them, however often."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate import resume as sharded
from ovsslib.evaluate import run as benchmark
from ovsslib.evaluate.engines import HERE, Engine
from ovsslib.evaluate.fingerprint import code_digest, folder
from ovsslib.evaluate.result import RunResult
from ovsslib.evaluate.resume import own_device, run_sharded
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.metrics.counts import COUNT_NAMES
from support.helpers import make_tiny_blip, write_voc

QUICK = {"layer": 1, "head": None, "rounds": 2, "patches_per_round": 5, "crf": False}


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_blip(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def how(tmp_path_factory: pytest.TempPathFactory) -> Execution:
    return Execution(batch=2, device="cpu", root=write_voc(tmp_path_factory.mktemp("data"), 9))


@pytest.fixture(scope="module")
def specs(vlm: str) -> dict[str, RunSpec]:
    return {
        "blur": RunSpec(vlm=vlm, config=QUICK),
        "sharp": RunSpec(vlm=vlm, config={**QUICK, "blur": 0.0}),
        "all": RunSpec(vlm=vlm, config=QUICK, filter="all"),
    }


@pytest.fixture(scope="module")
def usual(specs: dict[str, RunSpec], how: Execution) -> dict[str, RunResult]:
    return benchmark.run_many(specs, how)


def same(one: RunResult, other: RunResult) -> bool:
    pairs = [
        (getattr(a, name), getattr(b, name))
        for a, b in ((one.counts, other.counts), (one.boundary, other.boundary))
        for name in COUNT_NAMES
    ]
    arrays = [*pairs, (one.confusion, other.confusion)]
    return (
        one.ids == other.ids
        and one.name == other.name
        and one.failed == other.failed
        and all(np.array_equal(a, b) for a, b in arrays)
    )


@pytest.mark.parametrize(
    ("engine", "size"),
    [
        (HERE, 1),
        (HERE, 4),
        (Engine(workers=1), 2),
        (Engine(workers=3), 2),
        (Engine(workers=2, dask="local"), 2),
    ],
    ids=["here-1", "here-4", "process", "processes", "dask"],
)
def test_engines_and_sizes_change_nothing(
    specs: dict[str, RunSpec],
    how: Execution,
    usual: dict[str, RunResult],
    engine: Engine,
    size: int,
    tmp_path: Path,
) -> None:
    found = run_sharded(specs, tmp_path, how, engine, size=size)
    assert list(found) == list(specs)
    for name, result in found.items():
        assert same(result, usual[name]), name
        assert set(result.stages) == {"read", "salience", "refine", "score"}
        assert sum(result.stages.values()) > 0
    files = sorted(tmp_path.rglob("*.parquet"))
    assert len(files) == 3 * -(-9 // size)


def test_a_second_run_computes_what_is_missing(
    specs: dict[str, RunSpec],
    how: Execution,
    usual: dict[str, RunResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = {"blur": specs["blur"]}
    run_sharded(spec, tmp_path, how, size=2)
    files = sorted(tmp_path.rglob("*.parquet"))
    files[1].unlink()
    files[3].write_bytes(files[3].read_bytes()[:100])
    done: list[int] = []
    real = sharded.run_shard
    monkeypatch.setattr(sharded, "run_shard", lambda job: done.append(job.shard.index) or real(job))
    told: list[str] = []
    again = run_sharded(spec, tmp_path, how, size=2, tell=told.append)
    assert done == [1, 3]
    assert told == ["3 of 5 shards are there already"]
    assert same(again["blur"], usual["blur"])
    done.clear()
    run_sharded(spec, tmp_path, how, size=2, fresh=True)
    assert done == [0, 1, 2, 3, 4]


def test_bad_pictures_are_named_and_a_run_of_nothing_is_an_error(vlm: str, tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", 4)
    for number in (0, 1):
        (root / "JPEGImages" / f"img_000{number}.jpg").write_bytes(b"no picture")
    how = Execution(device="cpu", root=root)
    spec = {"run": RunSpec(vlm=vlm, config=QUICK)}
    found = run_sharded(spec, tmp_path / "store", how, size=2)["run"]
    assert found.ids == ("img_0002", "img_0003")
    assert set(found.failed) == {"img_0000", "img_0001"}
    assert str(tmp_path) not in str(found.failed)
    for number in (2, 3):
        (root / "JPEGImages" / f"img_000{number}.jpg").unlink()
    with pytest.raises(OvssError, match="no image of diorama could be read"):
        run_sharded(spec, tmp_path / "other", how, size=2)


def test_a_mended_picture_is_counted(vlm: str, tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", 4)
    path = root / "JPEGImages" / "img_0001.jpg"
    content = path.read_bytes()
    path.write_bytes(b"no picture")
    how, spec = Execution(device="cpu", root=root), {"run": RunSpec(vlm=vlm, config=QUICK)}
    assert set(run_sharded(spec, tmp_path / "store", how, size=2)["run"].failed) == {"img_0001"}
    path.write_bytes(content)
    told: list[str] = []
    found = run_sharded(spec, tmp_path / "store", how, size=2, tell=told.append)["run"]
    assert told == ["1 of 2 shards are there already"]
    assert found.failed == {}
    assert len(found.ids) == 4


def test_workers_with_other_code_are_refused(
    specs: dict[str, RunSpec], how: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(code_digest()) == 64
    monkeypatch.setattr(sharded, "code_digest", lambda: "newer")
    with pytest.raises(OvssError, match="another version of ovsslib"):
        run_sharded({"blur": specs["blur"]}, tmp_path, how, Engine(workers=1))


def test_refinement_processes_beside_dask_workers(
    specs: dict[str, RunSpec], how: Execution, usual: dict[str, RunResult], tmp_path: Path
) -> None:
    more = dataclasses.replace(how, refiners=1)
    spec = {"blur": specs["blur"]}
    found = run_sharded(spec, tmp_path, more, Engine(workers=1, dask="local"), size=5)
    assert same(found["blur"], usual["blur"])


def test_workers_that_may_not_start_processes_say_so(
    specs: dict[str, RunSpec], how: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    more = dataclasses.replace(how, refiners=1)
    with pytest.raises(OvssError, match="DASK_DISTRIBUTED__WORKER__DAEMON=False"):
        run_sharded({"blur": specs["blur"]}, tmp_path, more)


@pytest.fixture
def slot() -> Iterator[None]:
    os.environ[sharded.SLOT] = "3"
    yield
    del os.environ[sharded.SLOT]


def test_each_process_takes_its_own_gpu(slot: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    del slot
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device() == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device() is None


def test_workers_of_a_local_cluster_take_their_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device() is None, "no worker"
    for name, device in ((5, "cuda:1"), ("SLURMCluster-5", None)):
        worker = types.SimpleNamespace(name=name)
        monkeypatch.setattr(distributed, "get_worker", lambda worker=worker: worker)
        assert own_device() == device


def test_only_old_leftovers_are_swept(
    specs: dict[str, RunSpec], how: Execution, tmp_path: Path
) -> None:
    spec = specs["blur"]
    place = folder(tmp_path, spec, benchmark.open_task(spec, how), 9)
    place.mkdir(parents=True)
    old, new = place / ".a.part", place / ".b.part"
    for path in (old, new):
        path.write_text("")
    os.utime(old, (0, 0))
    run_sharded({"blur": spec}, tmp_path, how, size=9)
    assert not old.exists()
    assert new.exists()


def kill(job: sharded.ShardJob) -> int:
    """A worker that is killed in the middle of every second shard, the first time."""
    mark = Path(job.files["blur"]).with_suffix(".mark")
    if job.shard.index % 2 and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return REAL(job)


REAL = sharded.run_shard


@pytest.mark.parametrize(
    "engine", [Engine(workers=2), Engine(workers=2, dask="local")], ids=["processes", "dask"]
)
def test_killed_workers_change_nothing(
    specs: dict[str, RunSpec],
    how: Execution,
    usual: dict[str, RunResult],
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharded, "run_shard", kill)
    found = run_sharded({"blur": specs["blur"]}, tmp_path, how, engine, size=3)
    assert same(found["blur"], usual["blur"])
    assert len(list(tmp_path.rglob("*.mark"))) == 1
