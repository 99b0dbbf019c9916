"""Asking about many images at once, and stopping when there is no point in going on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from ovsslib.errors import OvssError
from ovsslib.filters.answers.file import Answer, Answers, AnswerWriter, UnwritableError
from ovsslib.filters.chat.client import Asker, ServerError
from ovsslib.lookup import Amount, Count, Positive, check_fields

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset

SILENT_IMAGES = 5
"""Images in a row without an answer, after which nothing more is asked."""


@dataclass(frozen=True)
class Budget:
    """What asking may cost.

    What an answer costs is known when it arrives, so the cost is checked after each answer; at most
    the answers then in flight come on top of the limit.

    Attributes:
        images: Most images asked about; None for no limit.
        cost: Most money; None for no limit.
        price_in: Money for a million tokens read.
        price_out: Money for a million tokens written.

    Raises:
        OvssError: A limit is not positive, a price is negative, or a cost is to be limited without
            prices.
    """

    images: Count | None = None
    cost: Positive | None = None
    price_in: Amount | None = None
    price_out: Amount | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        check_fields(self, "the budget's ")
        if self.cost is not None and None in (self.price_in, self.price_out):
            raise OvssError(
                "a budget of money needs the model's prices; give price_in and price_out, for a "
                "million tokens read and written"
            )


@dataclass
class AskReport:
    """How asking went.

    Attributes:
        answered: Images with a new answer.
        failed: Image -> why it has none.
        stopped: Why nothing more was asked; None where everything was.
        silent: Images in a row that got no answer from the server, up to now.
        asked: Images asked about.
        cost: Money spent, where the prices are known.
    """

    answered: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None
    silent: int = 0
    asked: int = 0
    cost: float = 0.0


def missing(names: Iterable[str], answers: Answers, *, again: bool = False) -> list[str]:
    """Images that are still to be asked about.

    Args:
        names: Images that need an answer.
        answers: The file so far.
        again: Whether an answer that could not be read counts as none.
    """
    have = set(answers.by_image) - (set(answers.unreadable) if again else set())
    return [name for name in names if name not in have]


def ask(
    asker: Asker,
    dataset: Dataset,
    names: Sequence[str],
    writer: AnswerWriter,
    *,
    concurrency: int = 4,
    budget: Budget = Budget(),
    report: AskReport | None = None,
) -> Iterator[str]:
    """Ask about images, several at once; each answer is in the file before its name is yielded.

    An image that cannot be read or that the server refuses is reported, the others are asked about.
    When the server refuses the key, several images in a row get no answer, the file cannot be
    written, or the budget is spent, nothing more is asked.

    Args:
        asker: Server and question.
        dataset: Where the images are.
        names: Names of the images.
        writer: The open answer file.
        concurrency: Requests at a time.
        budget: What it may cost.
        report: Is filled in.

    Yields:
        Names of images that are done, in the order in which they finish.
    """
    report = report if report is not None else AskReport()
    waiting = iter(names)

    def ask_and_write(name: str) -> Answer:
        # An image is read just before it is asked about: thousands would not fit into memory.
        answer = asker.ask(name, dataset.image(name))
        writer.write(answer)
        return answer

    # Also when the caller stops iterating, leaving the pool waits: answers in flight are written.
    with ThreadPoolExecutor(concurrency, thread_name_prefix="ask") as pool:
        flying: dict[Future[Answer], str] = {}
        while True:
            for name in islice(waiting, 0 if report.stopped else concurrency - len(flying)):
                report.stopped = _spent(budget, report)
                if report.stopped:
                    break
                report.asked += 1
                flying[pool.submit(ask_and_write, name)] = name
            if not flying:
                return
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                name = flying.pop(future)
                _note(name, future, budget, report)
                yield name


def _spent(budget: Budget, report: AskReport) -> str | None:
    """Which limit is reached."""
    if budget.images is not None and report.asked >= budget.images:
        return f"the budget of {budget.images} images is spent"
    if budget.cost is not None and report.cost >= budget.cost:
        return f"the budget of {budget.cost:g} is spent ({report.cost:.4f})"
    return None


def _note(name: str, future: Future[Answer], budget: Budget, report: AskReport) -> None:
    """Put one image's outcome into the report."""
    error = future.exception()
    if error is None:
        report.answered.append(name)
        report.silent = 0
        usage = future.result().usage
        if usage is not None:
            prices = (budget.price_in or 0, budget.price_out or 0)
            report.cost += (usage[0] * prices[0] + usage[1] * prices[1]) / 1e6
        elif budget.cost is not None:
            report.stopped = report.stopped or (
                "the server does not say how many tokens it used, so its cost cannot be limited; "
                "limit the images instead"
            )
        return
    if not isinstance(error, OvssError):
        raise error
    final = isinstance(error, UnwritableError)
    if not final:
        report.failed[name] = str(error)
    if isinstance(error, ServerError):
        report.silent += 1
        final = error.final or report.silent >= SILENT_IMAGES
    if final:
        report.stopped = report.stopped or str(error)
