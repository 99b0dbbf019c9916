"""A limit on what asking a model may cost, kept by many threads at once."""

from __future__ import annotations

import threading

from ovsslib.errors import OvssError


class BudgetSpentError(OvssError):
    """The next request would go past the limit."""


class Budget:
    """Counts requests and their cost.

    What a request will cost is known only afterwards. So the first goes alone, and later ones start
    when the limit allows for all in flight at the dearest price yet: only an answer dearer than any
    before can pass the limit, by the difference.

    Args:
        requests: Most requests, failed ones included; None for no limit.
        cost: Most money; None for no limit.
        price: Money for a million tokens read, and written.

    Raises:
        OvssError: A limit is not positive, or a cost is to be limited without prices.
    """

    def __init__(
        self,
        requests: int | None = None,
        cost: float | None = None,
        price: tuple[float | None, float | None] = (None, None),
    ) -> None:
        for what, limit in (("requests", requests), ("cost", cost)):
            if limit is not None and limit <= 0:
                raise OvssError(f"the budget of {what} must be positive, got {limit}")
        if cost is not None and None in price:
            raise OvssError(
                "a budget of money needs the model's prices; give price_in and price_out, for a "
                "million tokens read and written"
            )
        self.limits = (requests, cost)
        self.price = price
        self.requests = 0
        self.cost = 0.0
        self._dearest = 0.0
        self._flying = 0
        self._turn = threading.Condition()

    def take(self) -> None:
        """Ask to send one request; may wait until others have told their cost.

        Raises:
            BudgetSpentError: The limit does not allow it.
        """
        most, limit = self.limits
        with self._turn:
            if limit is not None:
                while self._flying and self._needs_wait(limit):
                    self._turn.wait()
                if self.cost + self._dearest > limit:
                    raise BudgetSpentError(f"the budget of {limit:g} is spent ({self.cost:.4f})")
            if most is not None and self.requests >= most:
                raise BudgetSpentError(f"the budget of {most} requests is spent")
            self.requests += 1
            self._flying += 1

    def _needs_wait(self, limit: float) -> bool:
        unknown = self._dearest == 0
        return unknown or self.cost + (self._flying + 1) * self._dearest > limit

    def give(self, usage: tuple[int, int] | None) -> None:
        """Tell the outcome of a request.

        Args:
            usage: Tokens read and written; None for a request that failed.
        """
        with self._turn:
            self._flying -= 1
            if usage is not None and None not in self.price:
                price_in, price_out = (p or 0.0 for p in self.price)
                spent = (usage[0] * price_in + usage[1] * price_out) / 1e6
                self.cost += spent
                self._dearest = max(self._dearest, spent)
            self._turn.notify_all()
