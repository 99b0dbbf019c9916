"""Search for layer, head, threshold and blur without masks (poster, Table 2).

A search draws candidates from a grid and asks an objective about them: the CLIP reward. Optuna
keeps the trials in a SQLite file: a search that was interrupted goes on, and several processes may
share one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import Count, Range, Seed, Share, check_fields, unknown
from ovsslib.tuning import race
from ovsslib.tuning.candidates import Candidate
from ovsslib.types import Progress

if TYPE_CHECKING:
    from ovsslib.tuning.objective import Objective

SAMPLERS = ("random", "grid", "tpe")
TRIALS = 34
"""Trials of the released code's search."""
Shares = Annotated[tuple[Share, ...], Range(1)]
THRESHOLDS = (0.05, 0.15, 0.25, 0.35, 0.45)
BLURS = (0.01, 0.03, 0.05, 0.07, 0.09, 0.11)
BATCH = 16
"""Candidates judged at once, so that those of one layer and head share work."""


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


class Trials:
    """The trials of one search, kept by Optuna; the `Memory` of a race.

    Args:
        grid: All candidates of the space.
        storage: SQLite file; None keeps the trials in memory.
        name: Of the study in the file.

    Raises:
        OvssError: The file is no such storage.
    """

    def __init__(self, grid: Sequence[Candidate], storage: Path | None, name: str) -> None:
        import optuna
        import sqlalchemy.exc

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        choose = optuna.distributions.CategoricalDistribution
        rows = [_write(candidate) for candidate in grid]
        self._distributions = {key: choose(sorted({row[key] for row in rows})) for key in rows[0]}
        try:
            kept = None
            if storage is not None:
                storage.parent.mkdir(parents=True, exist_ok=True)
                kept = optuna.storages.RDBStorage(
                    f"sqlite:///{storage}", engine_kwargs={"connect_args": {"timeout": 60}}
                )
            self._study = optuna.create_study(
                storage=kept, study_name=name, direction="maximize", load_if_exists=True
            )
        except (sqlalchemy.exc.SQLAlchemyError, OSError, RuntimeError, AssertionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise OvssError(
                f"{storage}: the trials cannot be kept there ({reason}); give another file"
            ) from error

    def values(self, state: str = "COMPLETE") -> dict[Candidate, float]:
        """Candidate -> value, in the order in which they were stored.

        Args:
            state: `"COMPLETE"`, or `"PRUNED"` for those that a race dismissed; their value is that
                over the images they were judged on.
        """
        return {_read(trial.params): float(trial.value) for trial in self._stored(state)}

    def get(self, chunk: int) -> np.ndarray | None:
        """Rewards of a race's chunk, see `ovsslib.tuning.race.Memory`."""
        rows = self._study.user_attrs.get(f"chunk {chunk}")
        return None if rows is None else np.array(rows, np.float64)

    def put(self, chunk: int, rewards: np.ndarray) -> None:
        """Keep rewards of a race's chunk."""
        self._study.set_user_attr(f"chunk {chunk}", rewards.tolist())

    def ask_planned(
        self,
        values: Callable[[Sequence[Candidate]], Sequence[float] | np.ndarray],
        planned: Sequence[Candidate],
    ) -> Iterator[None]:
        """Ask about a list of candidates, leaving out what is done, here or by another process.

        Trials are stored when they are finished: Optuna's queue of waiting ones is no queue on
        SQLite, where two processes may be given the same. Each process takes candidates by chance
        instead, so that two of them seldom meet; a candidate that both judge has the same value
        twice.

        Args:
            values: Of several candidates at once.
            planned: The candidates.

        Yields:
            None for each that is done.
        """
        chance = np.random.default_rng(os.getpid())
        shown = 0
        while True:
            done = self.values()
            todo = [candidate for candidate in planned if candidate not in done]
            count = len(planned) - len(todo)
            yield from [None] * (count - shown)
            shown = count
            if not todo:
                return
            some = chance.permutation(len(todo))[:BATCH]
            batch = [todo[index] for index in sorted(some)]
            for candidate, value in zip(batch, values(batch), strict=True):
                self._add(candidate, float(value))

    def ask_raced(
        self, objective: Objective, planned: Sequence[Candidate], seed: int
    ) -> Iterator[None]:
        """Let candidates race; those dismissed are stored as pruned, with their value so far.

        Rewards are kept chunk by chunk, so that an interrupted race goes on. A second process would
        judge the same chunks: a race does not share its work.

        Args:
            objective: Gives the rewards.
            planned: The candidates.
            seed: Of the order of the images.

        Yields:
            None for each candidate that is dismissed or has been judged to the end.
        """
        stored = {*self.values("COMPLETE"), *self.values("PRUNED")}

        def store(index: int, lap: race.Lap, *, dismissed: bool) -> None:
            if planned[index] not in stored:
                self._add(planned[index], float(lap.values[index]), dismissed=dismissed)

        for lap in race.race(objective, planned, seed=seed, memory=self):
            for index in lap.dismissed:
                store(index, lap, dismissed=True)
                yield None
        for index in lap.left:
            store(index, lap, dismissed=False)
            yield None

    def ask_tpe(
        self,
        values: Callable[[Sequence[Candidate]], Sequence[float] | np.ndarray],
        trials: int,
        seed: int,
    ) -> Iterator[None]:
        """Ask about what Optuna's TPE sampler draws.

        Args:
            values: Of several candidates at once; it is asked about one.
            trials: How many; a candidate drawn twice counts twice, but is judged once.
            seed: Of the sampler.

        Yields:
            None for each trial.
        """
        import optuna

        # Another seed for each continuation: with the same one it would draw the same again.
        seed += 7919 * len(self._study.trials)
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        judged, shown = self.values(), 0
        while True:
            count = min(len(self._stored("COMPLETE")), trials)
            yield from [None] * (count - shown)
            shown = count
            if count == trials:
                return
            trial = self._study.ask(fixed_distributions=self._distributions)
            candidate = _read(trial.params)
            if candidate not in judged:
                judged[candidate] = float(values([candidate])[0])
            self._study.tell(trial, judged[candidate])

    def _stored(self, state: str) -> list[Any]:
        return [t for t in self._study.get_trials(deepcopy=False) if t.state.name == state]

    def _add(self, candidate: Candidate, value: float, *, dismissed: bool = False) -> None:
        import optuna

        state = optuna.trial.TrialState.PRUNED if dismissed else optuna.trial.TrialState.COMPLETE
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state,
                params=_write(candidate),
                distributions=self._distributions,
                value=value,
            )
        )


def _write(candidate: Candidate) -> dict[str, Any]:
    """A candidate as Optuna stores it: head 0 is the mean."""
    return vars(candidate) | {"head": candidate.head or 0}


def _read(params: Mapping[str, Any]) -> Candidate:
    return Candidate(
        params["layer"], params["head"] or None, float(params["threshold"]), float(params["blur"])
    )
