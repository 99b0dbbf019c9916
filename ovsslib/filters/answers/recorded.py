"""Recorded answers as a class filter, the paper's own among them."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
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
from ovsslib.lookup import Count, Share, check_fields

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset


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
        self._checked: set[tuple[str, ...]] = set()
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

    def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
        """Labels of the classes that the image's answer names.

        Raises:
            OvssError: There is no answer for the image, or the answers are for other classes.
        """
        if dataset.classes not in self._checked:
            check_classes(most_used_names(self._file), dataset.classes, Path(self.answers).name)
            self._checked.add(dataset.classes)
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
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OvssError(f"{path}: cannot be read ({error.strerror}); check the path") from error
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
        OvssError: The answers are about other classes.
    """
    answers = [Answer(name, text, parse_answer(text, vocabulary)) for name, text in texts.items()]
    whole = Answers(Path(), by_image={answer.image: answer for answer in answers})
    classes = [vocabulary.names[label] for label in sorted(vocabulary.names)]
    check_classes(most_used_names(whole), classes, "the released answers")
    return answers


def released_source(dataset: str, split: str = "val") -> Source:
    """What imported answers have in common."""
    return Source(family(dataset), split, "gpt-4o", "released", "")
