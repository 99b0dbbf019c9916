"""Where shards are computed: in this process, in processes of this machine, or on Dask.

Every engine takes a function and jobs and gives results as they are done, in any order. A shard
that is done is on the disk, so an engine need not remember anything.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from ovsslib.errors import OvssError
from ovsslib.io.files import read_text
from ovsslib.io.pool import check_main, end_with, one_thread, why_none_starts
from ovsslib.lookup import Workers, check_fields

J = TypeVar("J")
R = TypeVar("R")

TRIES = 3
"""How often a pool is started again, or a shard given to another worker, after a worker died."""
WAIT = "30s"
"""How long a scheduler may take to answer."""
LOCAL = "local"
"""The address that stands for a cluster of processes on this machine."""
_MAY_START = "DASK_DISTRIBUTED__WORKER__DAEMON"
SLOT = "OVSS_SLOT"
"""Environment variable that numbers the processes of a machine, so that each takes its own GPU."""


@dataclass(frozen=True)
class Engine:
    """Who computes shards.

    Attributes:
        workers: Processes (jobs, under SLURM); 0 computes in this process.
        dask: Address of a Dask scheduler, or `"local"` to start one with `workers` processes.
        slurm: YAML file with arguments of `dask_jobqueue.SLURMCluster`; `workers` are asked
            for.

    Raises:
        OvssError: A value is out of range, or the arguments exclude each other.
    """

    workers: Workers = 0
    dask: str | None = None
    slurm: Path | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without starting anything."""
        check_fields(self)
        if self.dask is not None and self.slurm is not None:
            raise OvssError("choose one of a Dask scheduler and a SLURM profile")
        if self.dask not in (None, LOCAL) and not re.search(r"[\w\]]:[0-9]{1,5}$", str(self.dask)):
            raise OvssError(
                f"{self.dask!r} is no Dask scheduler; give its address, such as tcp://host:8786, "
                f"or {LOCAL}"
            )
        if self.slurm is not None:
            _profile(self.slurm)


HERE = Engine()
"""This process."""


def run_all(
    function: Callable[[J], R],
    jobs: Sequence[J],
    engine: Engine = HERE,
    tell: Callable[[str], None] | None = None,
) -> Iterator[R]:
    """`function` of every job, as they are done.

    Args:
        function: Of a module, as it is sent by name; may be called twice for a job whose worker
            died.
        jobs: What to apply it to; each must pickle.
        engine: Who computes.
        tell: Is called with one line about what is started, such as the address of a dashboard.

    Yields:
        One result per job.

    Raises:
        OvssError: Workers die again and again, or a cluster cannot be reached.
    """
    say = tell or (lambda _: None)
    if engine.slurm is not None:
        with _slurm(engine.slurm, max(engine.workers, 1), say) as client:
            yield from _on_dask(client, function, jobs)
    elif engine.dask is not None:
        with _dask(engine.dask, max(engine.workers, 1), say) as client:
            yield from _on_dask(client, function, jobs)
    elif engine.workers > 0:
        yield from _in_processes(function, jobs, engine.workers, say)
    else:
        yield from map(function, jobs)


def _in_processes(
    function: Callable[[J], R], jobs: Sequence[J], workers: int, say: Callable[[str], None]
) -> Iterator[R]:
    """Jobs in processes of this machine; when one dies, the others' work goes on in a new pool."""
    check_main()
    left = dict(enumerate(jobs))
    context = get_context("spawn")
    for attempt in range(TRIES + 1):
        slots = context.SimpleQueue()
        for slot in range(workers):
            slots.put(slot)
        begin = (slots, os.getpid())
        # Processes start as jobs are handed in.
        with one_thread():
            pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=begin)
            futures = {pool.submit(function, job): number for number, job in left.items()}
        try:
            for future in as_completed(futures):
                result = future.result()
                del left[futures[future]]
                yield result
            return
        except BrokenExecutor as error:
            if len(left) == len(jobs) and (reason := why_none_starts()):
                raise OvssError(reason) from error
            if attempt == TRIES:
                raise OvssError(
                    f"worker processes died {TRIES + 1} times (for want of memory, as a rule); use "
                    "fewer workers or a smaller batch. What is done is kept: the same command "
                    "continues"
                ) from error
            say(f"a worker process died; {len(left)} shards are left, starting again")
        finally:
            # Whatever ends this, nobody waits for the shards in flight. Then the pool's thread is
            # waited for, or it would sometimes fail in the open when the program ends.
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.terminate()
            pool.shutdown(cancel_futures=True)


def _begin(slots: Any, parent: int) -> None:
    """First thing in a worker process: take a number, and end when the parent does."""
    os.environ[SLOT] = str(slots.get())
    # Ctrl-C reaches all processes of a terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    end_with(parent)


def _on_dask(client: Any, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
    """Jobs on a Dask cluster, which gives a dead worker's to others."""
    from distributed import as_completed as completed
    from distributed.scheduler import KilledWorker

    futures = client.map(function, jobs, pure=False, batch_size=1000)
    try:
        for future in completed(futures):
            try:
                yield future.result()
            except KilledWorker as error:
                raise OvssError(
                    f"a shard's workers died {TRIES + 1} times (for want of memory, as a rule); "
                    "give workers more memory or use a smaller batch. What is done is kept: the "
                    "same command continues"
                ) from error
            future.release()
    finally:
        client.cancel(futures)


@contextlib.contextmanager
def _dask(address: str, workers: int, say: Callable[[str], None]) -> Iterator[Any]:
    """A client of a running scheduler, or of one started for this run."""
    import dask
    from distributed import Client, LocalCluster

    # Workers may start refinement processes, which Dask's own may not by default.
    settings = {
        "distributed.worker.daemon": False,
        "distributed.scheduler.allowed-failures": TRIES,
    }
    with _hushed(), dask.config.set(settings), contextlib.ExitStack() as stack:
        if address == LOCAL:
            # Asked before: Dask would start such processes again and print all they say.
            check_main()
            if reason := why_none_starts():
                raise OvssError(reason)
            where: Any = stack.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
            )
        else:
            where = address
        try:
            client = stack.enter_context(Client(where, timeout=WAIT))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise OvssError(
                f"no Dask scheduler answers at {address} ({reason}); start one with `dask "
                "scheduler`, or use --dask local"
            ) from error
        say(f"Dask dashboard: {client.dashboard_link}")
        yield client


@contextlib.contextmanager
def _slurm(profile: Path, jobs: int, say: Callable[[str], None]) -> Iterator[Any]:
    """A client of a Dask cluster whose workers are SLURM jobs, kept at their number."""
    import dask
    from distributed import Client

    options = _profile(profile)
    # As for a local cluster: a job's workers may start refinement processes.
    before = options.get("job_script_prologue") or []
    options["job_script_prologue"] = [*before, f"export {_MAY_START}=False"]
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise OvssError(
            "SLURM needs dask-jobqueue; install it with: pip install dask-jobqueue"
        ) from error
    with _hushed(), dask.config.set({"distributed.scheduler.allowed-failures": TRIES}):
        try:
            cluster = SLURMCluster(**options)
        except (TypeError, ValueError, OSError, RuntimeError) as error:
            raise OvssError(f"{profile}: SLURM cannot be used with it: {error}") from error
        with cluster, Client(cluster) as client:
            say(f"Dask dashboard: {client.dashboard_link}")
            # Adaptive, so that a job that is killed or runs out of time is asked for again.
            cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
            yield client


def _profile(path: Path) -> dict[str, Any]:
    """The arguments in a SLURM profile."""
    import yaml

    try:
        profile = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise OvssError(f"{path}: the SLURM profile cannot be read ({reason})") from error
    if not isinstance(profile, dict) or not all(isinstance(key, str) for key in profile):
        raise OvssError(
            f"{path}: a SLURM profile is a list of key: value lines, the arguments of "
            "dask_jobqueue.SLURMCluster, such as cores: 4, memory: 16GB, walltime: 02:00:00"
        )
    return profile


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep Dask's log off the terminal: an error arrives here, with its own message."""
    # Workers read the variable when they start; this process has read it already.
    key, before = "DASK_LOGGING__DISTRIBUTED", os.environ.get("DASK_LOGGING__DISTRIBUTED")
    os.environ.setdefault(key, "critical")
    log = logging.getLogger("distributed")
    levels = {log: log.level} | {
        other: other.level
        for name, other in logging.root.manager.loggerDict.items()
        if name.startswith("distributed.") and isinstance(other, logging.Logger)
    }
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
        if before is None:
            del os.environ[key]
