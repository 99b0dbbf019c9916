"""Asking about many images at once, and stopping when there is no sense in going on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from ovsslib.errors import OvssError
from ovsslib.filters.answers.file import Answer, Answers, AnswerWriter
from ovsslib.filters.chat.budget import BudgetSpentError
from ovsslib.filters.chat.client import Asker, ServerError, StoppedError

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset

SILENT_PICTURES = 5
"""Images in a row without an answer, after which nothing more is asked."""


@dataclass
class Report:
    """How asking went.

    Attributes:
        answered: Images with a new answer.
        failed: Image -> why it has none.
        stopped: Why nothing more was asked; None where all was.
    """

    answered: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None


def missing(names: Iterable[str], answers: Answers, *, again: bool = False) -> list[str]:
    """Images that are still to be asked about.

    Args:
        names: Wanted.
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
    report: Report | None = None,
) -> Iterator[str]:
    """Ask about images, several at once; each answer is in the file before its name is yielded.

    An image that cannot be read or that the server refuses is reported, the others are asked. When
    the server refuses the key, several images in a row get no answer, or the budget is spent,
    nothing more is asked.

    Args:
        asker: Whom, what, and for how much.
        dataset: Where the images are.
        names: Of the images.
        writer: The open answer file.
        concurrency: Requests at a time.
        report: Is filled in.

    Yields:
        Names of images that are dealt with, as they are.
    """
    report = report if report is not None else Report()
    # An image is read just before it is asked about: thousands would not fit into memory.
    queue, silent = iter(names), 0
    with ThreadPoolExecutor(concurrency, thread_name_prefix="ask") as pool:
        flying: dict[Future[Answer], str] = {}

        def fill() -> None:
            for name in islice(queue, concurrency - len(flying)):
                flying[pool.submit(_one, asker, dataset, name, writer)] = name

        try:
            fill()
            while flying:
                done, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    name = flying.pop(future)
                    silent = _note(name, future.exception(), report, silent)
                    yield name
                if report.stopped is None:
                    fill()
                else:
                    asker.stop.set()
        finally:
            # Also when the caller turns away: sleepers wake, answers in flight are still written.
            asker.stop.set()


def _one(asker: Asker, dataset: Dataset, name: str, writer: AnswerWriter) -> Answer:
    """Read, ask, write: one image."""
    answer = asker.ask(name, dataset.image(name))
    try:
        writer.write(answer)
    except OvssError as error:
        raise _DiskError(str(error)) from error
    return answer


class _DiskError(OvssError):
    """An answer could not be kept: asking on would be money lost."""


def _note(name: str, error: BaseException | None, report: Report, silent: int) -> int:
    """Put one image's outcome into the report; images in a row without an answer by now."""
    if error is None:
        report.answered.append(name)
        return 0
    if not isinstance(error, OvssError):
        raise error
    if isinstance(error, BudgetSpentError | _DiskError):
        report.stopped = report.stopped or str(error)
        return silent
    if isinstance(error, StoppedError):
        return silent
    report.failed[name] = str(error)
    if not isinstance(error, ServerError):
        return silent
    silent += 1
    if error.final or silent >= SILENT_PICTURES:
        report.stopped = report.stopped or str(error)
    return silent
