"""The trials of a search in a SQLite file, kept by Optuna.

A search that was interrupted goes on, and several processes may share one, from its first trial on.
"""

from __future__ import annotations

import functools
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.io.files import make_folder
from ovsslib.tuning import race
from ovsslib.tuning.candidates import Candidate

if TYPE_CHECKING:
    from ovsslib.tuning.objective import Objective

BATCH = 16
"""Candidates judged at once, so that those of one layer and head share work."""
_ATTEMPTS = 5
"""How often a file of trials is opened while other processes are making it."""


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
        make = functools.partial(
            optuna.create_study, study_name=name, direction="maximize", load_if_exists=True
        )
        if storage is None:
            self._study = make()
            return
        if re.match(r"[\w+]+:/", str(storage)):
            raise OvssError(f"{storage}: name a file such as trials.sqlite, not an address")
        racing = (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.OperationalError)
        for attempt in range(_ATTEMPTS):
            try:
                self._study = make(storage=_open_storage(storage))
                return
            except (sqlalchemy.exc.SQLAlchemyError, OSError, RuntimeError, AssertionError) as error:
                if attempt + 1 < _ATTEMPTS and isinstance(error, racing):
                    # Another process may be making the same tables; then they are there soon.
                    time.sleep(0.1 * (1 + attempt))
                    continue
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


def _open_storage(path: Path) -> Any:
    """Optuna's storage in a SQLite file of whatever name: in an address, `?` or `%` would count."""
    import optuna
    import sqlalchemy.pool

    make_folder(path.parent)
    connect = functools.partial(
        sqlite3.connect, path.absolute(), timeout=60, check_same_thread=False
    )
    pool = sqlalchemy.pool.QueuePool
    return optuna.storages.RDBStorage(
        "sqlite://", engine_kwargs={"creator": connect, "poolclass": pool}
    )


def _write(candidate: Candidate) -> dict[str, Any]:
    """A candidate as Optuna stores it: head 0 is the mean."""
    return vars(candidate) | {"head": candidate.head or 0}


def _read(params: Mapping[str, Any]) -> Candidate:
    return Candidate(
        params["layer"], params["head"] or None, float(params["threshold"]), float(params["blur"])
    )
