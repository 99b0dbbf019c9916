"""Optuna's part of the search: studies that are kept, and who is asked about what."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.tuning.candidates import Candidate, written_head
from ovsslib.tuning.race import Rules, race

Objective = Callable[[Sequence[Candidate]], "Sequence[float] | np.ndarray"]
"""Values of several candidates, higher is better."""


def open_study(sampler: str, seed: int, storage: Path | None, name: str) -> Any:
    """The study, as far as it has come."""
    import optuna
    import sqlalchemy.exc

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        where = None
        if storage is not None:
            storage.parent.mkdir(parents=True, exist_ok=True)
            where = optuna.storages.RDBStorage(
                f"sqlite:///{storage}", engine_kwargs={"connect_args": {"timeout": 60}}
            )
        study = optuna.create_study(
            storage=where, study_name=name, direction="maximize", load_if_exists=True
        )
    except (sqlalchemy.exc.SQLAlchemyError, OSError, RuntimeError, AssertionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OvssError(
            f"{storage}: the trials cannot be kept there ({reason}); give another file"
        ) from error
    if sampler == "tpe":
        # Another seed for each continuation: with the same one it would draw the same again.
        study.sampler = optuna.samplers.TPESampler(seed=seed + 7919 * len(study.trials))
    return study


def finished(study: Any) -> dict[Candidate, float]:
    """Candidate -> value, in the order in which they were stored."""
    return _values(study, "COMPLETE")


def dismissed(study: Any) -> dict[Candidate, float]:
    """Candidate -> value over the images it was judged on, of those that a race dismissed."""
    return _values(study, "PRUNED")


def _values(study: Any, state: str) -> dict[Candidate, float]:
    return {
        _read(trial.params): float(trial.value)
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name == state
    }


def ask_planned(
    study: Any,
    objective: Objective,
    grid: Sequence[Candidate],
    planned: Sequence[Candidate],
    batch: int,
) -> Iterator[None]:
    """Ask about a list of candidates, leaving out what is done, here or by another process.

    Trials are stored when they are finished: Optuna's queue of waiting ones is no queue on SQLite,
    where two processes may be given the same. Each process takes candidates by chance instead, so
    that two of them seldom meet; a candidate that both judge has the same value twice.
    """
    import optuna

    distributions = _distributions(grid)
    chance = np.random.default_rng(os.getpid())
    told = 0
    while True:
        done = finished(study)
        count = sum(candidate in done for candidate in planned)
        for _ in range(count - told):
            yield None
        told = count
        todo = [candidate for candidate in planned if candidate not in done]
        if not todo:
            return
        chosen = chance.permutation(len(todo))[:batch]
        asked = [todo[index] for index in sorted(chosen)]
        for candidate, value in zip(asked, objective(asked), strict=True):
            study.add_trial(
                optuna.trial.create_trial(
                    params=_write(candidate), distributions=distributions, value=float(value)
                )
            )


def ask_raced(
    study: Any, rules: Rules, grid: Sequence[Candidate], planned: Sequence[Candidate]
) -> Iterator[None]:
    """Let candidates race; those dismissed are stored as pruned, with their value so far.

    Rewards are kept chunk by chunk with the study, so that an interrupted race goes on. A second
    process would judge the same chunks: a race does not share its work.
    """
    import optuna

    distributions = _distributions(grid)
    told = set(finished(study)) | set(dismissed(study))
    kept = study.user_attrs

    def known(start: int) -> np.ndarray | None:
        rows = kept.get(f"chunk {start}")
        return None if rows is None else np.array(rows, np.float64)

    def keep(start: int, rewards: np.ndarray) -> None:
        study.set_user_attr(f"chunk {start}", rewards.tolist())

    def tell(index: int, value: float, seen: int, *, out: bool) -> None:
        if planned[index] in told:
            return
        state = optuna.trial.TrialState.PRUNED if out else optuna.trial.TrialState.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                params=_write(planned[index]),
                distributions=distributions,
                value=value,
                intermediate_values={seen: value},
            )
        )

    for lap in race(rules, planned, known, keep):
        for index in lap.dismissed:
            tell(int(index), float(lap.values[index]), lap.seen, out=True)
            yield None
    for index in lap.left:
        tell(int(index), float(lap.values[index]), lap.seen, out=False)
        yield None


def ask_sampler(
    study: Any, objective: Objective, grid: Sequence[Candidate], trials: int
) -> Iterator[None]:
    """Ask Optuna's sampler what to try next."""
    known = finished(study)
    # A candidate drawn twice has its value already, and counts as a trial all the same.
    for _ in range(sum(t.state.name == "COMPLETE" for t in study.get_trials(deepcopy=False))):
        yield None
    while sum(t.state.name == "COMPLETE" for t in study.get_trials(deepcopy=False)) < trials:
        trial = study.ask(fixed_distributions=_distributions(grid))
        candidate = _read(trial.params)
        if candidate not in known:
            known[candidate] = float(objective([candidate])[0])
        study.tell(trial, known[candidate])
        yield None


def _distributions(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """What Optuna draws from: the values that occur, in order."""
    import optuna

    kinds = {}
    for name in ("layer", "head", "threshold", "blur"):
        values = {_write(candidate)[name] for candidate in candidates}
        # Heads are numbers, or words for several.
        order = sorted(values, key=lambda value: (isinstance(value, str), value))
        kinds[name] = optuna.distributions.CategoricalDistribution(order)
    return kinds


def _write(candidate: Candidate) -> dict[str, Any]:
    """A candidate as Optuna stores it."""
    return {
        "layer": candidate.layer,
        "head": written_head(candidate.head),
        "threshold": candidate.threshold,
        "blur": candidate.blur,
    }


def _read(params: dict[str, Any]) -> Candidate:
    head: Any = params["head"] or None
    if isinstance(head, str):
        head = tuple(int(one) for one in head.split("+"))
    return Candidate(params["layer"], head, float(params["threshold"]), float(params["blur"]))
