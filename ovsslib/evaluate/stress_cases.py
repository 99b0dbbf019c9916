"""The vocabularies that a method is measured under: conditions, amounts, draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from ovsslib.evaluate.task import Task
from ovsslib.io.class_names import protocol_names
from ovsslib.lookup import Count, Range, Seed, check_fields, check_names
from ovsslib.protocols.perturb import BY_COUNT, BY_SHARE, Names, Words, available, perturbed
from ovsslib.protocols.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.protocols.protocol import Protocol

PLAIN = "plain"
"""The data set's own names, which all else is compared with."""
SOURCE = "source"
"""The names that the protocol brings, where it brings any."""


@dataclass(frozen=True)
class Case:
    """One vocabulary of a condition; amount and draw are None where it has none."""

    condition: str
    amount: float | None = None
    draw: int | None = None

    @property
    def name(self) -> str:
        """How files call it.

        Example:
            >>> Case("near", 50, 2).name, Case("plain").name
            ('near 50 #2', 'plain')
        """
        if self.draw is None:
            return self.condition
        return f"{self.condition} {self.amount:g} #{self.draw}"


@dataclass(frozen=True)
class Stress:
    """Which vocabularies to make.

    Attributes:
        conditions: Of `ovsslib.protocols.perturb`, and `"source"`; none for all that there are.
        shares: Of the classes, for conditions that rename; above 0.
        counts: Numbers of distractors.
        draws: Vocabularies for each condition and amount.
        seed: Of all draws.

    Raises:
        OvssError: A value is of another type or out of range.
    """

    conditions: tuple[str, ...] = ()
    shares: Annotated[tuple[Annotated[float, Range(0, 1, above=True)], ...], Range(1)] = (
        0.25,
        0.5,
        1.0,
    )
    counts: Annotated[tuple[Count, ...], Range(1)] = (10, 50, 200)
    draws: Count = 5
    seed: Seed = 0

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    def cases(self, condition: str) -> list[Case]:
        """The vocabularies of one condition."""
        if condition not in (*BY_SHARE, *BY_COUNT):
            return [Case(condition)]
        amounts = sorted(set(self.shares if condition in BY_SHARE else self.counts))
        return [Case(condition, amount, k) for amount in amounts for k in range(self.draws)]


def plain_names(dataset: Dataset, protocol: Protocol) -> Names:
    """The data set's own names, of classes that the protocol calls otherwise.

    Where the protocol brings names of background, background gets that one word.
    """
    brought = {} if protocol.names is None else protocol_names(protocol.names)
    changed = [
        name
        for name in dataset.classes
        if name in brought or (" " in name and not protocol.name_spaces)
    ]
    return {name: [name] for name in (*changed, *(brought.keys() & {"background"}))}


def vocabularies(
    stress: Stress, task: Task, words: Words
) -> dict[str, dict[Case, Vocabulary | None]]:
    """All vocabularies, by condition, plain names first.

    Args:
        stress: Which.
        task: Its data set and protocol.
        words: Other words.

    Returns:
        Condition -> case -> vocabulary, None for the protocol's own names.

    Raises:
        OvssError: A condition is unknown, or lacks its words.
    """
    data = task.dataset
    plain = plain_names(data, task.protocol)
    known = [*([SOURCE] if plain else []), *available(words)]
    check_names(f"condition for {data.name}", stress.conditions, known)
    groups: dict[str, dict[Case, Vocabulary | None]] = {}
    for condition in (PLAIN, *(stress.conditions or known)):
        groups[condition] = {}
        for case in stress.cases(condition):
            if condition in (PLAIN, SOURCE):
                names: Names = {}
            else:
                how = {"seed": stress.seed, "draw": case.draw or 0}
                names = perturbed(condition, case.amount or 0, data.classes, words, **how)
            made = Vocabulary.from_dict(condition, plain | names)
            made.check(data)
            groups[condition][case] = None if condition == SOURCE else made
    return groups
