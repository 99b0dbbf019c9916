"""A vocabulary of one's own: other names for classes, and names of nothing in the data set.

A method is asked for names, and how much of a figure is owed to them is seldom said. A vocabulary
replaces some of them, everything else equal; its distractors are offered in every image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovsslib.errors import OvssError
from ovsslib.io.files import read_text
from ovsslib.io.json import digest
from ovsslib.lookup import check_names, check_types

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset

DISTRACTORS = "distractors"
"""What stands before names of nothing in the data set, in a file and in a mapping."""


@dataclass(frozen=True)
class Vocabulary:
    """Names that a method is asked for, instead of the data set's.

    Attributes:
        name: How tables call it.
        names: Class -> its names, each of which the method is asked for; classes that are left out
            keep their own.
        distractors: Names of nothing in the data set; a pixel that gets one is background.
    """

    name: str
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    distractors: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, name: str, record: Mapping[str, Sequence[str]]) -> Vocabulary:
        """A vocabulary out of a mapping.

        Args:
            name: How tables call it.
            record: Class -> names; `DISTRACTORS` -> names of nothing.

        Raises:
            OvssError: Something is no list of names.

        Example:
            >>> Vocabulary.from_dict("mine", {"bus": ["coach"], "distractors": ["dragon"]}).names
            (('bus', ('coach',)),)
        """
        kinds = dict.fromkeys(record, list[str])
        check_types({key: list(words) for key, words in record.items()}, kinds, f"{name}: ")
        read = {key: tuple(word.strip() for word in words) for key, words in record.items()}
        for key, words in read.items():
            if not words or not all(words):
                raise OvssError(f"{name}: {key!r} has no name; write at least one")
        distractors = read.pop(DISTRACTORS, ())
        return cls(name, tuple(read.items()), distractors)

    def to_dict(self) -> dict[str, Any]:
        """Name, hash and size, for a results file; the names themselves stay in their file."""
        return {
            "name": self.name,
            "hash": digest({**dict(self.names), DISTRACTORS: self.distractors}, 10),
            "renamed": len(self.names),
            DISTRACTORS: len(self.distractors),
        }

    def check(self, dataset: Dataset) -> None:
        """Refuse what does not fit a data set.

        Raises:
            OvssError: A class is unknown, or a distractor is the name of one.
        """
        check_names(
            f"class of {dataset.name} (in the vocabulary {self.name!r})",
            [key for key, _ in self.names],
            [*dataset.classes, "background"],
        )
        taken = {word.casefold() for key, words in self.names for word in (key, *words)}
        taken |= {word.casefold() for word in dataset.classes}
        for word in self.distractors:
            if word.casefold() in taken:
                raise OvssError(
                    f"the vocabulary {self.name!r}: the distractor {word!r} names a class of "
                    f"{dataset.name}; leave it out"
                )


def read_vocabulary(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """A vocabulary's file, as the mapping that `Vocabulary.from_dict` takes.

    Args:
        path: A text file; its lines are `class: name; name; …`, or `distractors: name; …`, which
            may be repeated. `#` begins a comment.

    Returns:
        Class -> names.

    Raises:
        OvssError: It cannot be read, or a line is something else.
    """
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        key, colon, words = text.partition(":")
        if not colon:
            raise OvssError(
                f"{Path(path).name}, line {number}: {text!r} is no 'class: name; name; …'"
            )
        key = key.strip()
        if key in found and key != DISTRACTORS:
            raise OvssError(f"{Path(path).name}, line {number}: {key!r} is there twice")
        found.setdefault(key, []).extend(word.strip() for word in words.split(";"))
    return found
