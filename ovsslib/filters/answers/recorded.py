"""Recorded answers as a class filter, the paper's own among them."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovsslib.errors import OvssError
from ovsslib.filters.answers.file import (
    THRESHOLD,
    Answer,
    Answers,
    Source,
    keep,
    read_answers,
)
from ovsslib.filters.answers.parse import parse_answer
from ovsslib.filters.answers.vocabulary import Vocabulary, check_classes, family
from ovsslib.filters.base import MOST, ClassFilter
from ovsslib.io.files import read_text
from ovsslib.lookup import Count, Share, check_fields

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.types import Progress

_MANY = 20
"""One in so many answers names a usual class (`Vocabulary.usual`); fewer answers tell nothing."""


@dataclass
class Recorded(ClassFilter):
    """Answers from a file (the filter named `"recorded"`).

    Attributes:
        answers: The file, see `ovsslib.filters.answers.file`.
        threshold: 0..1, to be exceeded by a class's probability.
        most: Classes per image.

    Raises:
        OvssError: No file is named.
    """

    answers: str = ""
    threshold: Share = THRESHOLD
    most: Count = MOST

    def __post_init__(self) -> None:
        """Read the file: a wrong one is reported before a model is loaded."""
        self.answers = os.fspath(self.answers)
        check_fields(self, "recorded's ")
        if not self.answers:
            raise OvssError("the filter 'recorded' needs a file: --filter recorded:answers.jsonl")
        self._checked: set[tuple[str, tuple[str, ...]]] = set()
        self._file = read_answers(self.answers)
        for line in self._file.damaged:
            warnings.warn(f"{self.answers}, line {line}: cannot be read; left out", stacklevel=2)

    @property
    def described(self) -> dict[str, Any]:
        """Model, question, and a hash of the answers."""
        source = self._file.source
        return {
            "model": source.model if source else None,
            "prompt": source.prompt if source else None,
            "answers": self._file.digest,
            "threshold": self.threshold,
            "most": self.most,
        }

    def prepare(
        self, dataset: Dataset, names: Sequence[str], progress: Progress | None = None
    ) -> None:
        """Check that the answers are for this data set.

        Raises:
            OvssError: They are for another, or for other classes.
        """
        del names, progress
        source, file = self._file.source, Path(self.answers).name
        if source and source.dataset != family(dataset.name):
            raise OvssError(
                f"{file}: its answers are for {source.dataset}, not for {family(dataset.name)}; "
                "use answers for this data set"
            )
        check_classes(most_used_names(self._file), dataset.classes, file)
        self._checked.add((dataset.name, dataset.classes))

    def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
        """Labels of the classes that the image's answer names.

        Raises:
            OvssError: There is no answer for the image, or the answers are for other classes.
        """
        if (dataset.name, dataset.classes) not in self._checked:
            self.prepare(dataset, [name])
        answer = self._file.by_image.get(name)
        if answer is None:
            raise OvssError(
                f"{Path(self.answers).name} holds no answer for {name}; ask for it with "
                "`ovss filter ask`, or use another file"
            )
        return keep(answer.parsed.guesses, self.threshold, self.most)


def most_used_names(answers: Answers) -> dict[int, str]:
    """Label -> the name that the answers give it most often."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for answer in answers.by_image.values():
        for guess in answer.parsed.guesses:
            counts[guess.label][guess.name] += 1
    return {label: names.most_common(1)[0][0] for label, names in sorted(counts.items())}


def read_released(path: str | os.PathLike[str]) -> dict[str, str]:
    """The paper's answer file: image -> answer.

    Raises:
        OvssError: The file is missing or has another form.
    """
    text = read_text(path)
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not record:
        raise OvssError(f"{path}: is not a JSON object {{image: answer}} as the paper released")
    wrong = next((name for name, text in record.items() if not isinstance(text, str)), None)
    if wrong is not None:
        raise OvssError(f"{path}: the answer for {wrong!r} is not text, but {record[wrong]!r:.60}")
    return record


def parse_released(texts: Mapping[str, str], vocabulary: Vocabulary) -> list[Answer]:
    """Read released answers.

    Args:
        texts: Image -> answer, as `read_released` gives them.
        vocabulary: See `ovsslib.filters.answers.vocabulary.released_vocabulary`.

    Returns:
        An answer per image, in the file's order.

    Raises:
        OvssError: The answers are about another data set's classes.
    """
    answers = [Answer(name, text, parse_answer(text, vocabulary)) for name, text in texts.items()]
    named = most_used_names(Answers(Path(), by_image={a.image: a for a in answers}))
    classes = [vocabulary.names[label] for label in sorted(vocabulary.names)]
    check_classes(named, classes, "the released answers")
    wrong = sum(any(remark.misfit for remark in answer.parsed.remarks) for answer in answers)
    if wrong > max(2, len(answers) / 5):
        raise OvssError(
            f"the released answers: {wrong} of {len(answers)} name classes that the data set does "
            "not have; name the answers' own data set with --dataset"
        )
    usual = sum(any(g.label in vocabulary.usual for g in a.parsed.guesses) for a in answers)
    if vocabulary.usual and len(answers) >= _MANY and usual < len(answers) / _MANY:
        some = vocabulary.names[min(vocabulary.usual)]
        raise OvssError(
            f"the released answers: {usual} of {len(answers)} name a class from {some!r} on, where "
            "nearly all should; name the answers' own data set with --dataset"
        )
    return answers


def released_source(dataset: str, split: str = "val") -> Source:
    """What imported answers have in common."""
    return Source(family(dataset), split, "gpt-4o", "released", "")
