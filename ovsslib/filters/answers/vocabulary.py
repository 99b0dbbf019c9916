"""Class numbers and names in a model's answer, and the labels they stand for."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ovsslib.errors import OvssError
from ovsslib.lookup import unknown

# COCO's category numbers leave these out (nightrome/cocostuff, labels.txt).
_ABSENT = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91})
_LISTS: dict[str, tuple[str, int]] = {
    "voc": ("voc20", 20),
    "context": ("context59", 59),
    "ade20k": ("ade150", 150),
    "coco-object": ("coco171", 90),
    "coco-stuff": ("coco171", 182),
}
"""Family of data sets -> list of names, and the highest number in the paper's answer files."""


def family(dataset: str) -> str:
    """What variants of a data set have in common: images and classes.

    Example:
        >>> [family(name) for name in ("voc21", "coco-object80", "coco-object-instances", "ade20k")]
        ['voc', 'coco-object', 'coco-object', 'ade20k']
    """
    return re.sub(r"(-instances|\d+)$", "", dataset.replace("_", "-"))


@lru_cache(maxsize=1 << 14)
def squash(name: str) -> str:
    """What two spellings of a class name have in common: letters and digits.

    Example:
        >>> squash("TV-monitor") == squash("tv monitor")
        True
    """
    return "".join(c for c in name.casefold() if c.isalnum())


@lru_cache(maxsize=1 << 14)
def synonyms(name: str) -> tuple[str, ...]:
    """The names in `"door;double door"`, squashed.

    Example:
        >>> synonyms("Door; double door")
        ('door', 'doubledoor')
    """
    return tuple(dict.fromkeys(filter(None, map(squash, re.split(r"[;,]", name)))))


def alike(name: str, other: str) -> bool:
    """Whether two lists of synonyms may name one class.

    Some files separate the words of a name as they separate names (`"chest;of;drawers"`), so it is
    enough that all words of one name are among those of the other.

    Example:
        >>> alike("chest;of;drawers;bureau", "chest of drawers"), alike("table", "dining table")
        (True, True)
        >>> alike("bag", "bicycle")
        False
    """
    if squash(name) == squash(other) or set(synonyms(name)) & set(synonyms(other)):
        return True
    words, others = (set(re.findall(r"[a-z0-9]+", n.casefold())) for n in (name, other))
    return bool(words and others) and (words <= others or others <= words)


@dataclass(frozen=True)
class Vocabulary:
    """The classes an answer may name.

    Attributes:
        names: Label -> name; synonyms are separated by `;`.
        numbers: Number in an answer -> label.
        trust: What counts where the number and the name of a class disagree: `"number"` (the
            released code reads only numbers) or `"name"`.
        usual: Labels of which nearly every answer names one; empty where there are none. They tell
            answers of COCO-Stuff from those of COCO-Object, whose numbers and names are the same.

    Raises:
        OvssError: `trust` is neither.
    """

    names: Mapping[int, str]
    numbers: Mapping[int, int]
    trust: str = "name"
    usual: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """Check `trust`."""
        if self.trust not in ("number", "name"):
            raise unknown("trust", self.trust, ("number", "name"))

    @classmethod
    def of(cls, classes: Sequence[str]) -> Vocabulary:
        """A data set's classes, numbered from 1.

        Example:
            >>> Vocabulary.of(["cat", "dog"]).resolve(2, "dog")
            (2, None)
        """
        labels = range(1, len(classes) + 1)
        return cls(dict(zip(labels, classes, strict=True)), {k: k for k in labels})

    @cached_property
    def _labels(self) -> dict[str, int]:
        """Squashed name -> label: whole names, and synonyms that only one class has."""
        labels: dict[str, set[int]] = defaultdict(set)
        for label, name in self.names.items():
            for synonym in synonyms(name):
                labels[synonym].add(label)
        unique = {synonym: min(several) for synonym, several in labels.items() if len(several) == 1}
        return unique | {squash(name): label for label, name in self.names.items()}

    def find(self, name: str) -> int | None:
        """The label of a name, or of one of its synonyms; None where there is none."""
        labels = self._labels
        return next((labels[n] for n in (squash(name), *synonyms(name)) if n in labels), None)

    def resolve(self, number: int | None, name: str) -> tuple[int | None, str | None]:
        """The class that a piece of an answer names.

        Args:
            number: As in the answer; None where it gives none.
            name: As in the answer; may be empty.

        Returns:
            The label, None where no class is meant; and what is odd about the piece, or None.
        """
        name = re.sub(r"\([^()]*\)\s*$", "", name) or name  # "bench (unsure)"
        counted = self.numbers.get(number) if number is not None else None
        called = self.find(name)
        if number is None:
            return called, "no class of that name" if called is None else None
        by_name = called is not None and self.trust == "name"
        if counted is None:
            odd = f"no class has number {number}"
            return (called, f"{odd}; taken by its name") if by_name else (None, odd)
        usual = self.names.get(counted, "")
        plain = not squash(name) or not usual or called == counted
        if plain or set(synonyms(name)) & set(synonyms(usual)):
            return counted, None
        odd = f"number {number} is {usual!r}; taken by its {'name' if by_name else 'number'}"
        return called if by_name else counted, odd


def released_vocabulary(dataset: str, trust: str = "number") -> Vocabulary:
    """The classes in the paper's released answers.

    Args:
        dataset: `"voc"`, `"context"`, `"ade20k"`, `"coco-object"` or `"coco-stuff"`, or a
            variant of one; or `"diorama"`, for answers in the same form.
        trust: See `Vocabulary`.

    Raises:
        OvssError: The paper has no answers for this data set.

    Example:
        >>> coco = released_vocabulary("coco-object80")
        >>> coco.numbers[90], coco.names[80]
        (80, 'toothbrush')
    """
    from ovsslib.io.class_names import class_names, vocabulary

    key = family(dataset)
    if key == "diorama":
        return dataclasses.replace(Vocabulary.of(class_names("diorama")), trust=trust)
    if key not in _LISTS:
        raise unknown("data set of released answers", dataset, [*_LISTS, "diorama"])
    names, most = _LISTS[key]
    gaps = _ABSENT if key.startswith("coco") else frozenset()
    used = [number for number in range(1, most + 1) if number not in gaps]
    numbers = {number: label for label, number in enumerate(used, start=1)}
    classes = enumerate(vocabulary(names)[: len(used)], start=1)
    usual = frozenset(range(81, 172)) if key == "coco-stuff" else frozenset()
    return Vocabulary({label: "; ".join(words) for label, words in classes}, numbers, trust, usual)


def check_classes(names: Mapping[int, str], classes: Sequence[str], where: str) -> None:
    """Refuse answers made for another list or another order of classes.

    Args:
        names: Label -> name in the answers.
        classes: The data set's names.
        where: The answers' file, for the message.

    Raises:
        OvssError: More than a fifth of the labels, and more than two, have a name that does not
            match (fewer are slips of the model), or the data set has no such label.
    """
    wrong = [k for k in names if not 1 <= k <= len(classes) or not alike(names[k], classes[k - 1])]
    if max(names, default=0) > len(classes) or len(wrong) > max(2, len(names) / 5):
        k = wrong[0] if max(names) <= len(classes) else max(names)
        here = repr(classes[k - 1]) if 1 <= k <= len(classes) else "no class"
        raise OvssError(
            f"{where}: its classes are not the data set's ({len(wrong)} of {len(names)} differ; "
            f"label {k} is {names[k]!r} there and {here} here); use answers for this data set"
        )
