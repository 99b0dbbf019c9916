"""Search for layer, head, threshold and blur without masks (poster, Table 2).

A search draws candidates from a grid and asks an objective, such as the CLIP reward, about them.
Optuna keeps what is known in a SQLite file: a search that was interrupted goes on, and several
processes may share one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import unknown
from ovsslib.tuning.candidates import Candidate, Heads
from ovsslib.tuning.race import Rules
from ovsslib.tuning.trials import (
    Objective,
    ask_planned,
    ask_raced,
    ask_sampler,
    dismissed,
    finished,
    open_study,
)
from ovsslib.types import Progress

SAMPLERS = ("random", "grid", "tpe")
TRIALS = 34
"""Trials of the released code's search."""
THRESHOLDS = (0.05, 0.15, 0.25, 0.35, 0.45)
BLURS = (0.01, 0.03, 0.05, 0.07, 0.09, 0.11)


@dataclass(frozen=True)
class Space:
    """What is searched: all combinations (poster, Table 2).

    Attributes:
        layers: 1-based.
        heads: 1-based; several numbers are the mean over those heads, None that over all. The paper
            searches single heads.
        thresholds: 0..1.
        blurs: Standard deviation over the longer side.

    Raises:
        OvssError: A list is empty.
    """

    layers: tuple[int, ...]
    heads: tuple[Heads, ...]
    thresholds: tuple[float, ...] = THRESHOLDS
    blurs: tuple[float, ...] = BLURS

    def __post_init__(self) -> None:
        """Check that there is something to search."""
        for name in ("layers", "heads", "thresholds", "blurs"):
            if not getattr(self, name):
                raise OvssError(f"the search space has no {name}; name at least one")

    @classmethod
    def of(cls, layers: int, heads: int, *, mean: bool = False, several: int = 1) -> Space:
        """Table 2's space for a model.

        Args:
            layers: How many it has.
            heads: How many a layer has.
            mean: Whether the mean over all heads is a choice too.
            several: Most heads of a layer whose mean is a choice too.

        Raises:
            OvssError: `several` is less than 1.

        Example:
            >>> len(Space.of(12, 12).grid())
            4320
            >>> Space.of(1, 3, several=2).heads
            (1, 2, 3, (1, 2), (1, 3), (2, 3))
        """
        if several < 1:
            raise OvssError(f"several heads are 1 or more, got {several}")
        numbers = range(1, heads + 1)
        sets = [
            chosen
            for count in range(2, min(several, heads - 1) + 1)
            for chosen in itertools.combinations(numbers, count)
        ]
        # All heads together are the mean over all.
        whole: tuple[Heads, ...] = (None,) if mean or several >= heads > 1 else ()
        return cls(tuple(range(1, layers + 1)), (*whole, *numbers, *sets))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Sequence[Any]]) -> Space:
        """A space from what `to_dict` gave and JSON kept.

        Example:
            >>> Space.from_dict({"layers": [1], "heads": [None, 1, [1, 2]]}).heads
            (None, 1, (1, 2))
        """
        lists: dict[str, Any] = {
            name: tuple(tuple(one) if isinstance(one, list) else one for one in values)
            for name, values in fields.items()
        }
        return cls(**lists)

    def grid(self) -> list[Candidate]:
        """All candidates, in the order of the lists."""
        return [
            Candidate(*values)
            for values in itertools.product(self.layers, self.heads, self.thresholds, self.blurs)
        ]

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain lists, for a file."""
        return {
            "layers": list(self.layers),
            "heads": list(self.heads),
            "thresholds": list(self.thresholds),
            "blurs": list(self.blurs),
        }


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
        OvssError: The sampler is unknown or cannot race, or there is no trial.
    """

    sampler: str = "random"
    trials: int = TRIALS
    seed: int = 0
    race: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        if self.trials < 1:
            raise OvssError(f"trials must be 1 or more, got {self.trials}")
        if self.race and self.sampler == "tpe":
            raise OvssError("tpe asks about one candidate at a time; race with random or grid")


@dataclass(frozen=True)
class Trial:
    """A candidate and its value."""

    candidate: Candidate
    value: float


@dataclass(frozen=True)
class Search:
    """What a search found.

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


def search(  # noqa: PLR0913 - a job's settings
    objective: Objective,
    space: Space,
    plan: Plan,
    *,
    storage: Path | None = None,
    name: str = "search",
    batch: int = 16,
    progress: Progress | None = None,
    rules: Rules | None = None,
) -> Search:
    """Search for the candidate with the highest value.

    Args:
        objective: Of several candidates at once.
        space: What is searched.
        plan: How.
        storage: SQLite file that keeps the trials; None keeps them in memory. What is in it under
            this name is not computed again, and other processes may work on it.
        name: Of the study in the file; it must stand for objective and space.
        batch: Candidates asked about at once (TPE: one at a time).
        progress: Shows progress, trial by trial.
        rules: Of the race, where the plan wants one; they judge instead of `objective`.

    Returns:
        All finished trials of the study.

    Raises:
        OvssError: The file is no such storage, or a race has no rules.
    """
    full = f"{name} {plan.sampler} {plan.seed}"
    if plan.race:
        if rules is None:
            raise OvssError("a race needs rules: who judges, on which images")
        # Who is dismissed depends on who else takes part, and on the rules.
        count = plan.trials if plan.sampler == "random" else "all"
        full += f" race of {count}, {rules.chunk}, {rules.level}"
    study = open_study(plan.sampler, plan.seed, storage, full)
    grid = space.grid()
    if plan.sampler == "tpe":
        planned: list[Candidate] = []
        done: Iterable[None] = ask_sampler(study, objective, grid, plan.trials)
        total = plan.trials
    else:
        planned = grid if plan.sampler == "grid" else drawn(space, plan.trials, plan.seed)
        total = len(planned)
        if plan.race and rules is not None:
            done = ask_raced(study, rules, grid, planned)
        else:
            done = ask_planned(study, objective, grid, planned, batch)
    if progress is not None:
        done = progress(done, "trials", total)
    for _ in done:
        pass
    values, out = finished(study), dismissed(study)
    order = list(values) if plan.sampler == "tpe" else planned
    return Search(*(tuple(Trial(c, of[c]) for c in order if c in of) for of in (values, out)))
