"""What an engine adds to the work: dry shards here, in processes and on Dask.

A job is as large as a real one (`ovsslib.evaluate.resume.ShardJob` of COCO-Stuff). It does nothing,
or writes a shard's file of made-up images, which a process counts once.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ovsslib.bench.counting import PROTOCOL, made_up_label, made_up_prediction
from ovsslib.bench.memory import footprint, resident
from ovsslib.bench.refine import made_up_maps
from ovsslib.datasets.coco_stuff import COCO_CLASSES, COCO_STUFF
from ovsslib.errors import OvssError
from ovsslib.evaluate.engines import HERE, LOCAL, Engine, run_all
from ovsslib.evaluate.fingerprint import code_digest
from ovsslib.evaluate.pool import ordered
from ovsslib.evaluate.result import RunResult
from ovsslib.evaluate.resume import SIZE, ShardJob
from ovsslib.evaluate.shard_file import cut, write
from ovsslib.evaluate.spec import RunSpec
from ovsslib.evaluate.stages import Job, refine_and_score
from ovsslib.io.json import dumps, plain
from ovsslib.io.provenance import provenance
from ovsslib.metrics.counts import Ledger
from ovsslib.pnp.presets import preset
from ovsslib.protocols.protocol import get_protocol

PHOTO = (500, 375)
"""Width and height of the images."""
_LOOK = 100
"""Results after which memory is looked at."""
_SPEC = RunSpec(vlm="Salesforce/blip-itm-large-flickr", dataset="coco-stuff", filter="all")


def dry_jobs(shards: int, pictures: int, folder: Path) -> list[ShardJob]:
    """Jobs as `ovsslib.evaluate.resume.run_sharded` hands them out.

    Args:
        shards: How many.
        pictures: Of each.
        folder: Where their files shall lie.
    """
    specs = dumps({"run": plain(dataclasses.asdict(_SPEC))})
    how = dumps({"batch": 8, "workers": 0, "device": None, "root": str(folder)})
    return [
        ShardJob(specs, how, shard, {"run": str(shard.file(folder))}, code_digest())
        for shard in cut(shards * pictures, pictures)
    ]


def nothing(job: ShardJob) -> tuple[int, int]:
    """Do nothing; runs in a worker.

    Returns:
        The shard's number and the process's id.
    """
    return job.shard.index, os.getpid()


def store(job: ShardJob) -> tuple[int, int]:
    """Write the file of a dry shard; runs in a worker.

    Returns:
        The shard's number and the process's id.

    Raises:
        OvssError: It cannot be written.
    """
    write(made_up_result(job.shard.stop - job.shard.start), Path(job.files["run"]))
    return job.shard.index, os.getpid()


@functools.lru_cache(maxsize=2)
def made_up_result(pictures: int) -> RunResult:
    """A part of a run on COCO-Stuff (171 classes and background), counted from made-up images.

    Args:
        pictures: How many, of 500 x 375 pixels.
    """
    rules, n = get_protocol(PROTOCOL).resolved(_SPEC.dataset), len(COCO_CLASSES)
    ledger, told, config = Ledger(n + 1), tuple(range(1, n + 1)), preset("blip")
    for seed in range(pictures):
        label = made_up_label(seed, PHOTO, n)
        ledger.add(f"{seed:012d}", rules.tally(made_up_prediction(label), told, label, n))
    total = ledger.total
    return RunResult(
        method=_SPEC.method,
        vlm=_SPEC.vlm,
        dataset=_SPEC.dataset,
        split=_SPEC.split,
        protocol=rules.to_dict(),
        filter=_SPEC.filter,
        config=config.to_dict(),
        config_hash=config.hash(),
        classes=COCO_CLASSES,
        things=COCO_STUFF.things,
        scored=told,
        ids=tuple(ledger.ids),
        counts=total.counts,
        boundary=total.boundary,
        confusion=total.confusion,
        seconds=1.0,
        stages={"read": 0.1, "salience": 0.5, "refine": 0.3, "score": 0.1},
        provenance=provenance(),
    )


def timed(
    function: Callable[[ShardJob], tuple[int, int]], jobs: Sequence[ShardJob], engine: Engine
) -> dict[str, Any]:
    """Run jobs and watch the clock, this process's processor time and its memory.

    Args:
        function: `nothing` or `store`.
        jobs: At least 2.
        engine: Who computes; Dask's scheduler runs in this process.

    Returns:
        `shards`; `start`, seconds until every worker has answered once; `seconds` per shard
        from then on, and `rate`, shards per second; `cpu`, processor seconds of this process
        per shard from then on; `total`, seconds with the engine's end; `memory` of this
        process in bytes, `before` and `most`; `complete`, whether each job was done once.
    """
    before = most = resident(peak=False)
    begun = time.perf_counter()
    first = mark = last = (begun, time.process_time(), 0)
    seen: set[int] = set()
    found = []
    for index, process in run_all(function, jobs, engine):
        found.append(index)
        last = (time.perf_counter(), time.process_time(), len(found))
        if len(seen) < max(1, engine.workers):
            seen.add(process)
            mark = last
        if len(found) == 1:
            first = last
        if len(found) % _LOOK == 1:
            most = max(most, resident(peak=False))
    total = time.perf_counter() - begun
    # Where a worker did not answer before the end, count from the first answer.
    if mark[2] == len(jobs) or len(seen) < engine.workers:
        mark = first
    wall, cpu, count = (b - a for a, b in zip(mark, last, strict=True))
    return {
        "shards": len(jobs),
        "start": mark[0] - begun,
        "seconds": wall / count,
        "rate": count / wall,
        "cpu": cpu / count,
        "total": total,
        "memory": {"before": before, "most": most},
        "complete": sorted(found) == list(range(len(jobs))),
    }


def refinement_processes(workers: int, repeats: int = 5) -> dict[str, Any]:
    """What a shard pays for refinement processes beside its model (`--refine-workers`).

    Args:
        workers: Processes.
        repeats: Of the measurement.

    Returns:
        `workers`; `start`, median seconds from handing in a tiny image per process to the
        last answer and the processes' end; `memory`, bytes that a process has at most for 20
        classes at 500 x 375 pixels.
    """
    tiny = [_refinement((16, 16), 1)] * workers
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        list(ordered(refine_and_score, tiny, workers))
        spent.append(time.perf_counter() - begun)
    (memory,) = ordered(footprint, [_refinement(PHOTO, 20)], 1)
    return {"workers": workers, "start": statistics.median(spent), "memory": memory}


def _refinement(size: tuple[int, int], classes: int) -> Job:
    """A refinement process's job, of a made-up image."""
    n = len(COCO_CLASSES)
    return Job(
        name="run",
        picture="one",
        maps=made_up_maps(size, classes, 0),
        config=preset("blip", background="always"),
        looked_for=tuple(range(1, classes + 1)),
        truth=made_up_label(0, size, n),
        protocol=get_protocol(PROTOCOL).resolved(_SPEC.dataset),
        n=n,
    )


def overhead(
    shards: int = 5000, workers: int = 2, *, pictures: int = 4, compared: int = 500
) -> dict[str, Any]:
    """The record of `ovss bench dask`.

    Args:
        shards: Dry shards on Dask.
        workers: Processes of Dask and of the pool.
        pictures: Of a written shard.
        compared: Shards for this process and the pool, at most `shards`.

    Returns:
        `rows`, one per `job` (`nothing`, `store`) and `engine` (`serial`,
        `processes`, `dask`): `timed`'s figures and `overhead`, seconds per shard beyond the
        serial time divided by the workers; `job_bytes`, a job as it travels; `file`,
        `pictures` and `bytes` of a shard of the usual size; `refinement`, see
        `refinement_processes`; `complete`, `settings`, `provenance`.

    Raises:
        OvssError: A number is out of range, or files cannot be written.
    """
    if min(shards, compared) < 2 or min(workers, pictures) < 1:
        raise OvssError(
            f"shards {shards}, compared {compared}, workers {workers}, images {pictures}: give 2 "
            "shards or more, 1 worker or more and 1 image or more"
        )
    few = min(compared, shards)
    engines = {
        "serial": (HERE, few),
        "processes": (Engine(workers), few),
        "dask": (Engine(workers, dask=LOCAL), shards),
    }
    rows: list[dict[str, Any]] = []
    try:
        for function in (nothing, store):
            alone = 0.0
            for name, (engine, number) in engines.items():
                with tempfile.TemporaryDirectory(prefix="ovss-bench-") as folder:
                    row = timed(function, dry_jobs(number, pictures, Path(folder)), engine)
                if engine == HERE:
                    alone = row["seconds"]
                beyond = row["seconds"] - alone / max(1, engine.workers)
                kind = {"job": function.__name__, "engine": name, "workers": engine.workers}
                rows.append({**kind, **row, "overhead": beyond})
        with tempfile.TemporaryDirectory(prefix="ovss-bench-") as folder:
            job = dry_jobs(1, SIZE, Path(folder))[0]
            size = write(made_up_result(SIZE), Path(job.files["run"])).stat().st_size
    except OSError as error:
        raise OvssError(f"the dry shards cannot be written ({error}); free space") from error
    return {
        "kind": "bench-dask",
        "settings": {
            "shards": shards,
            "compared": few,
            "workers": workers,
            "pictures": pictures,
            "labels": len(COCO_CLASSES) + 1,
        },
        "rows": rows,
        "job_bytes": len(pickle.dumps(job)),
        "file": {"pictures": SIZE, "bytes": size},
        "refinement": refinement_processes(workers),
        "complete": all(row["complete"] for row in rows),
        "provenance": provenance(),
    }
