"""What an engine adds to the work: dry shards here, in processes and on Dask.

A job is as large as a real one (`ovsslib.evaluate.resume.ShardJob` of COCO-Stuff). It does nothing,
or writes a shard's file of synthetic images, which a process counts once.
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
from typing import Annotated, Any

from ovsslib.bench.case import PHOTO
from ovsslib.bench.counting import PROTOCOL, synthetic_label, synthetic_prediction
from ovsslib.bench.memory import footprint, resident
from ovsslib.bench.refine import synthetic_maps
from ovsslib.datasets.coco_stuff import COCO_CLASSES, COCO_STUFF
from ovsslib.errors import OvssError
from ovsslib.evaluate.engines import HERE, LOCAL, Engine, run_all
from ovsslib.evaluate.fingerprint import code_digest
from ovsslib.evaluate.result import RunResult
from ovsslib.evaluate.resume import SIZE, ShardJob
from ovsslib.evaluate.shard_file import cut, write
from ovsslib.evaluate.spec import RunSpec
from ovsslib.evaluate.stages import Pending, refine_and_score
from ovsslib.io.json import dumps, plain
from ovsslib.io.pool import ordered
from ovsslib.io.provenance import provenance
from ovsslib.lookup import Range, Threads, check_types
from ovsslib.metrics.counts import Ledger
from ovsslib.pnp.presets import preset
from ovsslib.protocols.protocol import get_protocol

COMPARED = 500
"""Dry shards for this process and for the pool, at most."""
IMAGES = 4
"""Images of a dry shard."""
_SPEC = RunSpec(vlm="Salesforce/blip-itm-large-flickr", dataset="coco-stuff", filter="all")
_CONFIG, _RULES, _N = (
    preset("blip"),
    get_protocol(PROTOCOL).resolved("coco-stuff"),
    len(COCO_CLASSES),
)


def dry_jobs(shards: int, images: int, folder: Path) -> list[ShardJob]:
    """Jobs as `ovsslib.evaluate.resume.run_sharded` hands them out, with files in a folder."""
    specs = dumps({"run": plain(dataclasses.asdict(_SPEC))})
    how = dumps({"batch": 8, "refiners": 0, "device": None, "root": str(folder)})
    return [
        ShardJob(specs, how, shard, {"run": str(shard.file(folder))}, code_digest())
        for shard in cut(shards * images, images)
    ]


def nothing(job: ShardJob) -> tuple[int, int]:
    """Do nothing, in a worker; returns the shard's number and the process's id."""
    return job.shard.index, os.getpid()


def store(job: ShardJob) -> tuple[int, int]:
    """Write the file of a dry shard, in a worker; returns as `nothing` does."""
    write(synthetic_result(job.shard.stop - job.shard.start), Path(job.files["run"]))
    return nothing(job)


@functools.lru_cache(maxsize=2)
def synthetic_result(images: int) -> RunResult:
    """A part of a run on COCO-Stuff (171 classes and background), counted from synthetic images."""
    ledger, given = Ledger(_N + 1), tuple(range(1, _N + 1))
    for seed in range(images):
        label = synthetic_label(seed, PHOTO, _N)
        ledger.add(f"{seed:012d}", _RULES.tally(synthetic_prediction(label), given, label, _N))
    return RunResult(
        method=_SPEC.method,
        vlm=_SPEC.vlm,
        dataset=_SPEC.dataset,
        split=_SPEC.split,
        protocol=_RULES.to_dict(),
        filter=_SPEC.filter,
        config=_CONFIG.to_dict(),
        config_hash=_CONFIG.hash(),
        classes=COCO_CLASSES,
        things=COCO_STUFF.things,
        scored=given,
        ids=tuple(ledger.ids),
        counts=ledger.total.counts,
        boundary=ledger.total.boundary,
        confusion=ledger.total.confusion,
        seconds=1.0,
        provenance=provenance(),
    )


def timed(
    function: Callable[[ShardJob], tuple[int, int]], jobs: Sequence[ShardJob], engine: Engine
) -> dict[str, Any]:
    """Run 2 jobs or more, and measure this process, in which Dask's scheduler runs.

    Returns:
        `shards`; `start`, seconds until every worker has answered once; `seconds` per shard
        from then on, and `rate`, shards per second; `cpu`, processor seconds of this process
        per shard from then on; `total`, seconds with the engine's end; `memory` of this
        process in bytes, `before` and `most`; `complete`, whether each job was done once.
    """
    memory = [resident(peak=False)]
    begun = time.perf_counter()
    shards, processes = [], []
    marks: list[tuple[float, float, int]] = []
    for shard, process in run_all(function, jobs, engine):
        marks.append((time.perf_counter(), time.process_time(), len(marks)))
        shards.append(shard)
        processes.append(process)
        if len(marks) % 100 == 1:
            memory.append(resident(peak=False))
    total = time.perf_counter() - begun
    ready = max(processes.index(process) for process in set(processes))
    if ready == len(marks) - 1:  # a worker answered at the very end only
        ready = 0
    wall, cpu, count = (b - a for a, b in zip(marks[ready], marks[-1], strict=True))
    return {
        "shards": len(jobs),
        "start": marks[ready][0] - begun,
        "seconds": wall / count,
        "rate": count / wall,
        "cpu": cpu / count,
        "total": total,
        "memory": {"before": memory[0], "most": max(memory)},
        "complete": sorted(shards) == list(range(len(jobs))),
    }


def refinement_processes(workers: int) -> dict[str, Any]:
    """What a shard pays for refinement processes beside its model (`--refine-workers`).

    `start` is the median seconds from handing in a tiny image per process to the processes' end,
    `memory` the peak bytes of one for 20 classes at 500 x 375 pixels.
    """
    spent = []
    for _ in range(5):
        begun = time.perf_counter()
        list(ordered(refine_and_score, [_refinement((16, 16), 1)] * workers, workers))
        spent.append(time.perf_counter() - begun)
    (memory,) = ordered(footprint, [_refinement(PHOTO, 20)], 1)
    return {"workers": workers, "start": statistics.median(spent), "memory": memory}


def _refinement(size: tuple[int, int], classes: int) -> Pending:
    """A refinement process's job, of a synthetic image."""
    maps, given = synthetic_maps(size, classes, 0), tuple(range(1, classes + 1))
    config = _CONFIG.replace(background="always")
    return Pending("run", "image", maps, config, given, synthetic_label(0, size, _N), _RULES, _N)


def overhead(shards: int = 5000, workers: int = 2) -> dict[str, Any]:
    """The record of `ovss bench dask`.

    Args:
        shards: Dry shards on Dask; at most `COMPARED` for this process and the pool.
        workers: Processes of Dask and of the pool.

    Returns:
        `rows`, one per `job` (`nothing`, `store`) and `engine` (`serial`, `processes`, `dask`):
        `timed`'s figures and `overhead`, seconds per shard beyond the serial time divided by the
        workers; `job_bytes`, a job as it travels; `file`, `pictures` and `bytes` of a shard of the
        usual size; `refinement`; `complete`, `settings`, `provenance`.

    Raises:
        OvssError: A number is out of range, or files cannot be written.
    """
    given = {"shards": shards, "workers": workers}
    check_types(given, {"shards": Annotated[int, Range(2)], "workers": Threads})
    few, pool, dask = min(COMPARED, shards), Engine(workers), Engine(workers, dask=LOCAL)
    rows: list[dict[str, Any]] = []
    try:
        for function in (nothing, store):
            alone = 0.0
            for name, engine, count in (
                ("serial", HERE, few),
                ("processes", pool, few),
                ("dask", dask, shards),
            ):
                with tempfile.TemporaryDirectory(prefix="ovss-bench-") as folder:
                    row = timed(function, dry_jobs(count, IMAGES, Path(folder)), engine)
                alone = alone or row["seconds"]
                beyond = row["seconds"] - alone / max(1, engine.workers)
                kind = {"job": function.__name__, "engine": name, "workers": engine.workers}
                rows.append({**kind, **row, "overhead": beyond})
        with tempfile.TemporaryDirectory(prefix="ovss-bench-") as folder:
            job = dry_jobs(1, SIZE, Path(folder))[0]
            size = write(synthetic_result(SIZE), Path(job.files["run"])).stat().st_size
    except OSError as error:
        raise OvssError(f"the dry shards cannot be written ({error}); free space") from error
    numbers = {"shards": shards, "compared": few, "workers": workers, "pictures": IMAGES}
    return {
        "kind": "bench-dask",
        "settings": numbers | {"labels": _N + 1},
        "rows": rows,
        "job_bytes": len(pickle.dumps(job)),
        "file": {"pictures": SIZE, "bytes": size},
        "refinement": refinement_processes(workers),
        "complete": all(row["complete"] for row in rows),
        "provenance": provenance(),
    }
