"""Order, laziness and faults of work in other processes."""

from __future__ import annotations

import os
import time

import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate.pool import close, ordered


def slow_square(x: int) -> int:
    time.sleep(0.02 * (x % 3))
    return x * x


def fails(x: int) -> int:
    if x == 2:
        raise OvssError("task 2 cannot be done")
    return x


def dies(x: int) -> int:
    if x == 2:
        os._exit(1)
    return x


@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_errors(workers: int) -> None:
    assert list(ordered(slow_square, range(9), workers)) == [x * x for x in range(9)]
    with pytest.raises(OvssError, match="task 2"):
        list(ordered(fails, range(5), workers))


def test_tasks_are_drawn_as_needed() -> None:
    drawn: list[int] = []

    def tasks() -> object:
        for x in range(50):
            drawn.append(x)
            yield x

    results = ordered(abs, tasks(), 2)
    next(results)
    assert len(drawn) <= 8
    results.close()


def test_a_dead_worker_is_one_line() -> None:
    with pytest.raises(OvssError, match="worker processes died"):
        list(ordered(dies, range(5), 1))


def test_negative_workers() -> None:
    with pytest.raises(OvssError, match="workers must be int from 0 to 1024, got -1"):
        list(ordered(abs, [1], -1))


def test_the_environment_is_as_before() -> None:
    before = dict(os.environ)
    list(ordered(abs, [1], 1))
    assert dict(os.environ) == before


def process(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def test_processes_may_be_kept_for_the_next_call() -> None:
    first = set(ordered(process, range(6), 2, keep=True))
    assert set(ordered(process, range(6), 2, keep=True)) <= first
    assert not set(ordered(process, range(6), 2)) & first
    with pytest.raises(OvssError, match="worker processes died"):
        list(ordered(dies, range(5), 2, keep=True))
    again = set(ordered(process, range(6), 2, keep=True))
    assert not again & first, "a broken pool is not kept"
    close()
    for _ in range(100):
        if not any(os.path.exists(f"/proc/{pid}") for pid in again):
            break
        time.sleep(0.1)
    assert not set(ordered(process, range(6), 2, keep=True)) & again
    close()
