"""Apply a function to a stream of tasks in other processes; results come back in order."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import current_process, get_context, spawn
from pathlib import Path
from typing import TypeVar

from ovsslib.errors import OvssError
from ovsslib.lookup import Workers, check_types

T = TypeVar("T")
R = TypeVar("R")


UNGUARDED = 86
"""Exit status of a worker that was to start workers while it imported the main program."""
_GUARD = '`if __name__ == "__main__":`'
_kept: dict[int, ProcessPoolExecutor] = {}


def ordered(
    function: Callable[[T], R], tasks: Iterable[T], workers: int = 0, *, keep: bool = False
) -> Iterator[R]:
    """`function` of every task, in the order of the tasks.

    Tasks are drawn as they are needed, a few per worker ahead, so that a long stream never lies in
    memory whole, and the process that makes the tasks works beside those that do them.

    Args:
        function: Of a module, as it is sent by name.
        tasks: What to apply it to; each must pickle.
        workers: Number of processes; 0 does everything in this one.
        keep: Whether the processes stay for the next call that keeps them, until `close`: it takes
            more than a second to start them.

    Yields:
        One result per task.

    Raises:
        OvssError: `workers` is negative, or a process died (for want of memory, as a rule); or as
            `check_main`.

    Example:
        >>> list(ordered(abs, [-2, 1, -3]))
        [2, 1, 3]
    """
    check_types({"workers": workers}, {"workers": Workers})
    if workers == 0:
        yield from map(function, tasks)
        return
    check_main()
    with one_thread():
        pool = _pool(workers, keep)
        waiting: deque[Future[R]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                while len(waiting) > 3 * workers or (waiting and waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except RuntimeError as error:
            if type(error).__name__ != "BrokenProcessPool":
                raise
            _kept.pop(workers, None)
            keep = False
            raise OvssError(
                why_none_starts()
                or f"one of {workers} worker processes died; use fewer workers or free memory"
            ) from error
        finally:
            for future in waiting:
                future.cancel()
            if not keep:
                pool.shutdown()


def _pool(workers: int, keep: bool) -> ProcessPoolExecutor:
    """A pool that was kept, or a new one."""
    if keep and workers in _kept:
        return _kept[workers]
    # Spawned, not forked: a fork copies the locks of torch's threads in whatever state they are.
    context = get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=end_with, initargs=(os.getpid(),))
    if keep:
        _kept[workers] = pool
    return pool


def check_main() -> None:
    """Ask before processes are started: each of them imports the main program first.

    In a process that is doing so this does not return: the program starts processes whenever it is
    imported, which `why_none_starts` then tells the first one.

    Raises:
        OvssError: The program was read from standard input, or its file is gone.
    """
    if getattr(current_process(), "_inheriting", False):
        os._exit(UNGUARDED)
    program = spawn.get_preparation_data("")
    path = Path(program.get("init_main_from_path", program["orig_dir"]))
    if not path.exists():
        raise OvssError(
            f"worker processes import the program that starts them, but {path.name} is no file; "
            f"save the program as one, with its code under {_GUARD}, or use no workers"
        )


def why_none_starts() -> str | None:
    """Why worker processes die at their start; None where one that does nothing ends well."""
    process = get_context("spawn").Process(target=int)
    process.start()
    process.join()
    if process.exitcode == UNGUARDED:
        return (
            "the program starts worker processes whenever it is imported, and each of them imports "
            f"it; put its code under {_GUARD}, or use no workers"
        )
    if process.exitcode:
        return (
            f"worker processes die at their start (exit status {process.exitcode}): they import "
            "the program that starts them, which fails there; what they printed says why"
        )
    return None


def close() -> None:
    """End the processes that `ordered` has kept."""
    while _kept:
        _kept.popitem()[1].shutdown()


def end_with(parent: int) -> None:
    """Have this process end when its parent does; a pool's processes never notice by themselves.

    Args:
        parent: Process id of the parent.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Have processes that start now use one thread each: one worker is meant to be one core."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
