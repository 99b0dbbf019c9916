"""The class filter of the paper: a vision-language model on a server is asked what it sees."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ovsslib.errors import OvssError
from ovsslib.filters.answers.file import (
    THRESHOLD,
    Answers,
    AnswerWriter,
    Source,
    keep,
    read_answers,
)
from ovsslib.filters.answers.vocabulary import family
from ovsslib.filters.base import MOST, ClassFilter
from ovsslib.filters.chat.client import Asker, Server
from ovsslib.filters.chat.question import Question
from ovsslib.filters.chat.queue import AskReport, Budget, ask, missing
from ovsslib.lookup import Amount, Count, Positive, Range, Share, check_fields

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.types import Progress


@dataclass
class GPT4o(Server, ClassFilter):
    """Classes by a model on a server (the filter named `"gpt4o"`).

    Answers are stored in a file, and only images that it lacks are asked about.

    Attributes:
        answers: The answer file, appended to.
        threshold: 0..1, to be exceeded by a class's probability.
        most: Most classes per image.
        side: Longer side, in pixels, of the image that is sent; larger ones are shrunk.
        detail: See `ovsslib.filters.chat.question.Question`.
        concurrency: Requests at a time.
        max_images: Most images asked about in one call; None for no limit.
        max_cost: Most money spent in one call, see `ovsslib.filters.chat.queue.Budget`.
        price_in: Money for a million tokens read.
        price_out: Money for a million tokens written.

    Raises:
        OvssError: No answer file is named, or a setting is out of range.
    """

    answers: str = ""
    threshold: Share = THRESHOLD
    most: Count = MOST
    side: Annotated[int, Range(1, 100_000)] = 768
    detail: Literal["auto", "low", "high"] = "auto"
    concurrency: Annotated[int, Range(1, 256)] = 4
    max_images: Count | None = None
    max_cost: Positive | None = None
    price_in: Amount | None = None
    price_out: Amount | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a server."""
        self.answers = os.fspath(self.answers)
        check_fields(self, "gpt4o's ")
        super().__post_init__()
        if not self.answers:
            raise OvssError("the filter 'gpt4o' needs a file for its answers: answers=FILE.jsonl")
        self._budget = Budget(self.max_images, self.max_cost, self.price_in, self.price_out)
        self._stored: Answers | None = None
        self._failed: dict[str, str] = {}

    def question(self, classes: tuple[str, ...]) -> Question:
        """What is asked about images with these classes."""
        return Question(classes, self.most, self.side, self.detail)

    def source(self, dataset: Dataset) -> Source:
        """What the answers about a data set have in common."""
        prompt = self.question(dataset.classes).hash
        return Source(family(dataset.name), dataset.split, self.model, prompt, self.base_url)

    @property
    def described(self) -> dict[str, Any]:
        """Model, server, question, and a hash of the answers."""
        answers = self._answers()
        return {
            "model": self.model,
            "base_url": self.base_url,
            "prompt": answers.source.prompt if answers.source else None,
            "answers": answers.digest,
            "threshold": self.threshold,
            "most": self.most,
        }

    def _answers(self) -> Answers:
        if self._stored is None:
            self._stored = read_answers(self.answers, missing=True)
        return self._stored

    def asking(
        self, dataset: Dataset, names: Sequence[str], report: AskReport, *, again: bool = False
    ) -> Iterator[str]:
        """Ask about the images that the file lacks; nothing is sent where it lacks none.

        Args:
            dataset: Where the images are.
            names: Of the images.
            report: Is filled in.
            again: Whether to ask once more where an answer could not be read.

        Yields:
            Names of images that are done; those with an answer already come first.

        Raises:
            OvssError: The key is missing, or the file holds other answers or cannot be written.
        """
        with AnswerWriter(self.answers, self.source(dataset)) as writer:
            left = missing(names, read_answers(self.answers), again=again)
            waiting = set(left)
            yield from (name for name in names if name not in waiting)
            if left:
                yield from ask(
                    Asker(self, self.question(dataset.classes)),
                    dataset,
                    left,
                    writer,
                    concurrency=self.concurrency,
                    budget=self._budget,
                    report=report,
                )
        self._stored = None

    def prepare(
        self, dataset: Dataset, names: Sequence[str], progress: Progress | None = None
    ) -> None:
        """Ask about all images of a run at once, before the first is needed.

        Raises:
            OvssError: As `asking`; or nothing more is asked and answers are missing.
        """
        answers = self._answers()
        if answers.source in (None, self.source(dataset)) and not missing(names, answers):
            return
        report = AskReport()
        steps = self.asking(dataset, names, report)
        for _ in progress(steps, "asking", len(names)) if progress else steps:
            pass
        self._failed.update(report.failed)
        if report.stopped is not None:
            raise OvssError(f"{report.stopped} ({len(report.answered)} new answers are kept)")

    def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
        """Labels of the classes that the model names; asks where the file lacks the image.

        Raises:
            OvssError: There is no answer, or as `asking`.
        """
        if name not in self._failed:
            self.prepare(dataset, [name])
        answer = self._answers().by_image.get(name)
        if answer is None:
            raise OvssError(
                f"{Path(self.answers).name}: no answer for {name} ({self._failed[name]})"
            )
        return keep(answer.parsed.guesses, self.threshold, self.most)
