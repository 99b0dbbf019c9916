"""Runs in shards that survive: cut, computed by an engine, kept on disk, put together.

A run's shards lie in `<store>/<method>_<vlm>_<data set>_<key>/`. The key is a hash of all that
can change a number: the run's settings, the model's files, the list of images, the filter's
answers, and this library's code. So a shard that is there can be taken as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.evaluate.engines import HERE, SLOT, Engine, run_all
from ovsslib.evaluate.fetch import find_models
from ovsslib.evaluate.fingerprint import code_digest, folder
from ovsslib.evaluate.result import RunResult
from ovsslib.evaluate.run import groups, load_models, measure, open_task
from ovsslib.evaluate.shard_file import Shard, cut, merge, read, write
from ovsslib.evaluate.spec import SERIAL, Execution, RunSpec
from ovsslib.evaluate.task import Task
from ovsslib.io.files import make_folder
from ovsslib.io.json import plain
from ovsslib.io.pool import check_main, close

SIZE = 32
"""Pictures of a shard."""
_STALE = 3600
"""Seconds after which a temporary file is nobody's any more."""


@dataclass(frozen=True)
class ShardJob:
    """Everything a worker needs for one shard of runs that share a model: plain data.

    Attributes:
        specs: Name -> run, as JSON.
        execution: As JSON: batch, workers, device, root.
        shard: Which images.
        files: Name of a run -> the shard's file.
        code: `code_digest` of the library that asks.
    """

    specs: str
    execution: str
    shard: Shard
    files: dict[str, str]
    code: str


def run_sharded(
    specs: Mapping[str, RunSpec],
    store: str | os.PathLike[str],
    execution: Execution = SERIAL,
    engine: Engine = HERE,
    *,
    size: int = SIZE,
    fresh: bool = False,
    tell: Callable[[str], None] | None = None,
) -> dict[str, RunResult]:
    """Run what is not done yet, and put everything together.

    Args:
        specs: Name -> run.
        store: Folder for the shards; workers on other machines must see it under the same path.
        execution: How each worker computes; `progress` counts shards.
        engine: Who computes.
        size: Pictures of a shard.
        fresh: Compute all shards, those that are there too.
        tell: Is called with single lines about what happens.

    Returns:
        Name -> result: the same integers whatever the engine, the number of workers and of
        interruptions.

    Raises:
        OvssError: As `ovsslib.evaluate.run.run_many`; or shards cannot be written, or workers died
            too often. Finished shards are kept.
    """
    if engine != HERE or execution.refiners:
        check_main()
    results: dict[str, RunResult] = {}
    for group in groups(specs):
        results |= _run_group(group, Path(store).resolve(), execution, engine, size, fresh, tell)
    return {name: results[name].checked() for name in specs}


def _run_group(
    group: dict[str, RunSpec],
    store: Path,
    execution: Execution,
    engine: Engine,
    size: int,
    fresh: bool,
    tell: Callable[[str], None] | None,
) -> dict[str, RunResult]:
    """`run_sharded` for runs that share a model."""
    task = open_task(next(iter(group.values())), execution)
    if execution.download:
        for spec in group.values():
            find_models(spec, download=True)
    if tell and len(task.ids) < task.expected:
        tell(
            f"warning: {task.dataset.name} has {len(task.ids)} images here, {task.expected} are "
            f"expected; see ovss data verify {task.dataset.name}"
        )
    # Answers of a server are asked for once, here, and read from their file by every worker.
    task.class_filter.prepare(task.dataset, task.ids, execution.progress)
    places = {name: folder(store, spec, task, size) for name, spec in group.items()}
    for place in places.values():
        make_folder(place)
        _sweep(place)
    shards = cut(len(task.ids), size)
    todo = [
        shard
        for shard in shards
        if fresh or not all(_whole(shard.file(place)) for place in places.values())
    ]
    if tell and len(todo) < len(shards):
        tell(f"{len(shards) - len(todo)} of {len(shards)} shards are there already")
    text, how = _as_json(group), _how(execution)
    jobs = [
        ShardJob(
            text, how, shard, {k: str(shard.file(v)) for k, v in places.items()}, code_digest()
        )
        for shard in todo
    ]
    done: Iterable[Any] = run_all(run_shard, jobs, engine, tell)
    if execution.progress is not None and jobs:
        done = execution.progress(done, "shards", len(jobs))
    try:
        for _ in done:
            pass
    finally:
        close()
    return {
        name: merge([read(shard.file(place)) for shard in shards]) for name, place in places.items()
    }


def run_shard(job: ShardJob) -> int:
    """Compute one shard of each run of a group and write its files; runs in a worker.

    Returns:
        The shard's number.

    Raises:
        OvssError: The library here is not the one that asks, or a file cannot be written.
    """
    if job.code != code_digest():
        raise OvssError(
            "a worker has another version of ovsslib than the program that asks; install the same "
            "on all machines and start the workers again"
        )
    keys = tuple(Path(file).parent.name for file in job.files.values())
    task, models, execution = _opened(job.specs, job.execution, keys)
    if execution.refiners and multiprocessing.current_process().daemon:
        raise OvssError(
            "this Dask worker may not start processes for refinement; start workers with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False in their environment, or leave out "
            "--refine-workers"
        )
    part = dataclasses.replace(task, part=(job.shard.start, job.shard.stop))
    for name, result in measure(models, part, execution).items():
        write(result, Path(job.files[name]))
    return job.shard.index


@functools.lru_cache(maxsize=1)
def _opened(specs: str, how: str, keys: tuple[str, ...]) -> tuple[Task, dict[str, Any], Execution]:
    """Model and images, once per process until a run's key says that files have changed."""
    del keys
    group = {name: RunSpec.from_dict(record) for name, record in json.loads(specs).items()}
    execution = Execution(**json.loads(how))
    if execution.device is None:
        execution = dataclasses.replace(execution, device=own_device())
    return (
        open_task(next(iter(group.values())), execution),
        load_models(group, execution),
        execution,
    )


def own_device() -> str | None:
    """The GPU of this process where several processes share a machine's GPUs, else None."""
    import torch

    slot: Any = os.environ.get(SLOT)
    if slot is None and "distributed" in sys.modules:
        from distributed import get_worker

        with contextlib.suppress(ValueError):
            # A local cluster numbers its workers; others name theirs, and give each its own GPU.
            slot = get_worker().name
    if not str(slot).isdigit() or not torch.cuda.is_available():
        return None
    return f"cuda:{int(slot) % torch.cuda.device_count()}"


def _as_json(group: Mapping[str, RunSpec]) -> str:
    return json.dumps(
        {name: plain(dataclasses.asdict(spec)) for name, spec in group.items()}, sort_keys=True
    )


def _how(execution: Execution) -> str:
    """How workers compute, as JSON; they may not download what `_run_group` has fetched."""
    root = None if execution.root is None else str(Path(execution.root).resolve())
    return json.dumps(
        {
            "batch": execution.batch,
            "refiners": execution.refiners,
            "device": execution.device,
            "root": root,
            # A worker has many shards to come.
            "keep": True,
        }
    )


def _whole(path: Path) -> bool:
    """Whether a shard is there, can be read and lacks no image; else it is computed again."""
    if not path.exists():
        return False
    try:
        # Whoever repairs an image and runs again wants it counted.
        return not read(path).failed
    except OvssError:
        return False


def _sweep(place: Path) -> None:
    """Remove what killed workers left half written."""
    for path in place.glob(".*.part"):
        try:
            if time.time() - path.stat().st_mtime > _STALE:
                path.unlink()
        except OSError:
            continue
