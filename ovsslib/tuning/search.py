"""Search for layer, head, threshold and blur without masks (poster, Table 2).

A search draws candidates from a grid and asks an objective about them: the CLIP reward.
`ovsslib.tuning.trials` keeps what it was told.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import Count, Range, Seed, Share, check_fields, unknown
from ovsslib.tuning import race
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.trials import Trials
from ovsslib.types import Progress

if TYPE_CHECKING:
    from ovsslib.tuning.objective import Objective

SAMPLERS = ("random", "grid", "tpe")
TRIALS = 34
"""Trials of the released code's search."""
Shares = Annotated[tuple[Share, ...], Range(1)]
THRESHOLDS = (0.05, 0.15, 0.25, 0.35, 0.45)
BLURS = (0.01, 0.03, 0.05, 0.07, 0.09, 0.11)


@dataclass(frozen=True)
class Space:
    """What is searched: all combinations (poster, Table 2).

    Attributes:
        layers: 1-based.
        heads: 1-based; None is the mean over all. The paper searches single heads.
        thresholds: 0..1.
        blurs: Standard deviation over the longer side.

    Raises:
        OvssError: A list is empty, or a value out of range.
    """

    layers: Annotated[tuple[Count, ...], Range(1)]
    heads: Annotated[tuple[Count | None, ...], Range(1)]
    thresholds: Shares = THRESHOLDS
    blurs: Shares = BLURS

    def __post_init__(self) -> None:
        """Check that there is something to search."""
        check_fields(self, "the search space's ")

    @classmethod
    def of(cls, layers: int, heads: int, *, mean: bool = False) -> Space:
        """Table 2's space for a model.

        Args:
            layers: How many it has.
            heads: How many a layer has.
            mean: Whether the mean over all heads is a choice too.

        Example:
            >>> len(Space.of(12, 12).grid())
            4320
        """
        numbers = tuple(range(1, heads + 1))
        return cls(tuple(range(1, layers + 1)), (None, *numbers) if mean else numbers)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Sequence[Any]]) -> Space:
        """A space from what `to_dict` gave and JSON kept."""
        return cls(**{name: tuple(values) for name, values in fields.items()})

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain lists, for a file."""
        return {name: list(values) for name, values in vars(self).items()}

    def grid(self) -> list[Candidate]:
        """All candidates, in the order of the lists."""
        return list(itertools.starmap(Candidate, itertools.product(*vars(self).values())))


@dataclass(frozen=True)
class Plan:
    """How to search.

    Attributes:
        sampler: `"random"` (the paper's), `"grid"` (everything) or `"tpe"`.
        trials: How many candidates; `"grid"` takes all.
        seed: Of the sampler, and of the order of images in a race.
        race: Whether candidates that fall far behind are not judged to the end
            (`ovsslib.tuning.race`).

    Raises:
        OvssError: The sampler is unknown or cannot race, or a number is out of range.
    """

    sampler: str = "random"
    trials: Count = TRIALS
    seed: Seed = 0
    race: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        check_fields(self)
        if self.race and self.sampler == "tpe":
            raise OvssError("tpe asks about one candidate at a time; race with random or grid")


@dataclass(frozen=True)
class Trial:
    """A candidate and its value."""

    candidate: Candidate
    value: float


@dataclass(frozen=True)
class Search:
    """The result of a search.

    Attributes:
        trials: In the order of the plan; TPE's in that in which they were finished.
        dismissed: By a race; their value is that over the images they were judged on.
    """

    trials: tuple[Trial, ...]
    dismissed: tuple[Trial, ...] = ()

    @property
    def best(self) -> Trial:
        """The trial with the highest value; of equal ones the first.

        Raises:
            OvssError: There is no trial.
        """
        if not self.trials:
            raise OvssError("the search has no finished trial yet; let it run longer")
        return max(self.trials, key=lambda trial: trial.value)


def drawn(space: Space, trials: int, seed: int) -> list[Candidate]:
    """Candidates of a random search: without replacement, the same for the same seed."""
    grid = space.grid()
    order = np.random.default_rng(seed).permutation(len(grid))
    return [grid[index] for index in order[:trials]]


def search(
    objective: Objective,
    space: Space,
    plan: Plan,
    *,
    storage: Path | None = None,
    name: str = "search",
    progress: Progress | None = None,
) -> Search:
    """Search for the candidate with the highest value.

    Args:
        objective: Gives values, and for a race rewards of single images.
        space: What is searched.
        plan: How.
        storage: SQLite file that keeps the trials; None keeps them in memory. What is in it under
            this name is not computed again, and other processes may work on it.
        name: Of the study in the file; it must stand for objective and space.
        progress: Shows progress, trial by trial.

    Returns:
        All finished trials of the study.

    Raises:
        OvssError: The file is no such storage.
    """
    full = f"{name} {plan.sampler} {plan.seed}"
    if plan.race:
        # Who is dismissed depends on who else takes part, and on the rules.
        count = plan.trials if plan.sampler == "random" else "all"
        full += f" race of {count}, {race.CHUNK}, {race.LEVEL}"
    grid = space.grid()
    planned = drawn(space, plan.trials, plan.seed) if plan.sampler == "random" else grid
    trials, total = Trials(grid, storage, full), len(planned)
    if plan.sampler == "tpe":
        steps, total = trials.ask_tpe(objective.values, plan.trials, plan.seed), plan.trials
    elif plan.race:
        steps = trials.ask_raced(objective, planned, plan.seed)
    else:
        steps = trials.ask_planned(objective.values, planned)
    for _ in steps if progress is None else progress(steps, "trials", total):
        pass
    finished, dismissed = trials.values("COMPLETE"), trials.values("PRUNED")
    order = list(finished) if plan.sampler == "tpe" else planned
    return Search(
        tuple(Trial(c, finished[c]) for c in order if c in finished),
        tuple(Trial(c, dismissed[c]) for c in order if c in dismissed),
    )
