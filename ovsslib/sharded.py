"""Runs in shards that survive: cut, computed by an engine, kept on disk, put together.

A run's shards lie in ``<store>/<method>_<vlm>_<data set>_<key>/``. The key is a hash of all that
can change a number: the run's settings, the model's files, the list of pictures, the filter's
answers, and this library's code. So a shard that is there can be taken as it is.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovsslib.benchmark import groups, load_models, measure, open_task
from ovsslib.errors import OvssError
from ovsslib.filters import describe
from ovsslib.images import make_folder
from ovsslib.parallel import HERE, SLOT, Engine, run_all
from ovsslib.plain import plain
from ovsslib.results import RunResult
from ovsslib.runs import SERIAL, Execution, RunSpec
from ovsslib.shards import Shard, cut, merge, read, write
from ovsslib.tasks import Task
from ovsslib.vlm import find_checkpoint

SIZE = 32
"""Pictures of a shard."""
_SHOWING = frozenset(
    {
        *("bench", "bookbuild", "bookrun", "cli", "doctor", "inventory", "measured", "notebook"),
        *("overlays", "plots", "published", "readme", "regress", "scale", "table", "table_text"),
        "training",
    }
)
"""Packages and modules that no figure passes through; what is not named here counts."""
_STALE = 3600
"""Seconds after which a temporary file is nobody's any more."""


@dataclass(frozen=True)
class ShardJob:
    """Everything a worker needs for one shard of runs that share a model: plain data.

    Attributes:
        specs: name -> run, as JSON.
        execution: as JSON: batch, workers, device, root.
        shard: which pictures.
        files: name of a run -> the shard's file.
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
        specs: name -> run.
        store: folder for the shards; workers on other machines must see it under the same path.
        execution: how each worker computes; ``progress`` counts shards.
        engine: who computes.
        size: pictures of a shard.
        fresh: compute all shards, those that are there too.
        tell: is told single lines about what happens.

    Returns:
        Name -> result: the same integers whatever the engine, the number of workers and of
        interruptions.

    Raises:
        OvssError: as `ovsslib.benchmark.run_many`; or shards cannot be written, or workers died
            too often. Finished shards are kept.
    """
    results: dict[str, RunResult] = {}
    for group in groups(specs):
        results |= _run_group(group, Path(store), execution, engine, size, fresh, tell)
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
    work = open_task(next(iter(group.values())), execution)
    # Answers of a server are asked for once, here, and read from their file by every worker.
    prepare = getattr(work.looks, "prepare", None)
    if prepare is not None:
        prepare(work.dataset, work.ids, execution.progress)
    places = {name: folder(store, spec, work, size) for name, spec in group.items()}
    for place in places.values():
        make_folder(place)
        _sweep(place)
    shards = cut(len(work.ids), size)
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
    for _ in done:
        pass
    return {
        name: merge([read(shard.file(place)) for shard in shards]) for name, place in places.items()
    }


def run_shard(job: ShardJob) -> int:
    """Compute one shard of each run of a group and write its files; runs in a worker.

    Returns:
        The shard's number.

    Raises:
        OvssError: the library here is not the one that asks, or a file cannot be written.
    """
    if job.code != code_digest():
        raise OvssError(
            "a worker has another version of ovsslib than the program that asks; install the same "
            "on all machines and start the workers again"
        )
    work, models, execution = _opened(job.specs, job.execution)
    if execution.workers and multiprocessing.current_process().daemon:
        raise OvssError(
            "this Dask worker may not start processes for refinement; start workers with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False in their environment, or leave out "
            "--refine-workers"
        )
    part = dataclasses.replace(work, part=(job.shard.start, job.shard.stop))
    for name, result in measure(models, part, execution).items():
        write(result, Path(job.files[name]))
    return job.shard.index


@functools.lru_cache(maxsize=1)
def _opened(specs: str, how: str) -> tuple[Task, dict[str, Any], Execution]:
    """Model and pictures, once per process."""
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

    slot = os.environ.get(SLOT)
    if slot is None or not torch.cuda.is_available():
        return None
    return f"cuda:{int(slot) % torch.cuda.device_count()}"


def _as_json(group: Mapping[str, RunSpec]) -> str:
    return json.dumps(
        {name: plain(dataclasses.asdict(spec)) for name, spec in group.items()}, sort_keys=True
    )


def _how(execution: Execution) -> str:
    root = None if execution.root is None else str(Path(execution.root).resolve())
    return json.dumps(
        {
            "batch": execution.batch,
            "workers": execution.workers,
            "device": execution.device,
            "root": root,
        }
    )


def folder(store: Path, spec: RunSpec, work: Task, size: int = SIZE) -> Path:
    """Where the shards of a run lie.

    Args:
        store: folder for all runs' shards.
        spec: the run.
        work: its pictures.
        size: pictures of a shard.
    """
    record = plain(dataclasses.asdict(spec)) | {
        "protocol": plain(work.protocol.to_dict()),
        "filter_settings": plain(describe(work.looks) or dict(spec.filter_settings)),
        "model": model_digest(spec.vlm),
        "ids": hashlib.sha256("\n".join(work.ids).encode()).hexdigest(),
        "size": size,
        "code": code_digest(),
    }
    key = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:12]
    vlm = Path(spec.vlm).name.replace("/", "-")
    return store / f"{spec.method}_{vlm}_{work.dataset.name}-{work.dataset.split}_{key}"


@functools.cache
def model_digest(vlm: str) -> str:
    """A hash of a model's files: their names, sizes and, up to 64 MiB each, their bytes.

    Larger files are known by their first and last MiB: reading gigabytes takes longer than a shard.
    """
    found = find_checkpoint(vlm)
    files = [found] if found.is_file() else sorted(p for p in found.iterdir() if p.is_file())
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with open(path, "rb") as stream:
            if size <= 64 << 20:
                digest.update(stream.read())
            else:
                digest.update(stream.read(1 << 20))
                stream.seek(-(1 << 20), os.SEEK_END)
                digest.update(stream.read())
    return digest.hexdigest()


@functools.cache
def code_digest() -> str:
    """A hash of this library's source files, without those that only show (`_SHOWING`)."""
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0].removesuffix(".py") not in _SHOWING:
            digest.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _whole(path: Path) -> bool:
    """Whether a shard is there and can be read; a damaged one is computed again."""
    if not path.exists():
        return False
    try:
        read(path)
    except OvssError:
        return False
    return True


def _sweep(place: Path) -> None:
    """Remove what killed workers left half written."""
    for path in place.glob(".*.part"):
        try:
            if time.time() - path.stat().st_mtime > _STALE:
                path.unlink()
        except OSError:
            continue
