"""A limit that holds while many threads spend."""

from __future__ import annotations

import threading
import time

import pytest

from ovsslib.errors import OvssError
from ovsslib.filters.chat.budget import Budget, BudgetSpentError


def spend(budget: Budget, threads: int, usage: tuple[int, int] | None) -> int:
    """As many requests as the budget allows, from many threads; how many that were."""
    counts = []

    def work() -> None:
        mine = 0
        try:
            while mine < 50:
                budget.take()
                time.sleep(0.002)
                budget.give(usage)
                mine += 1
        except BudgetSpentError:
            pass
        counts.append(mine)

    all_threads = [threading.Thread(target=work) for _ in range(threads)]
    for thread in all_threads:
        thread.start()
    for thread in all_threads:
        thread.join(20)
        assert not thread.is_alive()
    return sum(counts)


def test_requests_are_exact() -> None:
    budget = Budget(requests=37)
    assert spend(budget, 6, None) == 37
    assert budget.requests == 37


def test_money_is_not_passed() -> None:
    budget = Budget(cost=0.1, price=(2.5, 10.0))
    # 1000 and 100 tokens cost 0.0035: 28 requests fit into 0.1
    assert spend(budget, 6, (1000, 100)) == 28
    assert budget.cost == pytest.approx(0.098)


def test_failures_cost_nothing_but_count() -> None:
    budget = Budget(requests=10, cost=0.1, price=(2.5, 10.0))
    assert spend(budget, 3, None) == 10
    assert budget.cost == 0


def test_no_limit() -> None:
    assert spend(Budget(), 2, (1, 1)) == 100


def test_senseless_limits() -> None:
    with pytest.raises(OvssError, match="needs the model's prices"):
        Budget(cost=1.0)
    with pytest.raises(OvssError, match="budget of requests must be positive"):
        Budget(requests=0)
    with pytest.raises(OvssError, match="budget of cost must be positive"):
        Budget(cost=0.0, price=(1.0, 1.0))
