"""What a reward chooses, and how good the choice is on images that it has not seen.

All are pure functions of stored `ovsslib.tuning.study.file.Study`s. Letters: B images, C
candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import Count, check_types
from ovsslib.metrics.iou import Interval
from ovsslib.tuning.search import TRIALS, Plan, Trials
from ovsslib.tuning.study.figures import (
    alive,
    bootstrap,
    mean_ious,
    mean_ious_of,
    pixels_of,
    rewards,
    rewards_of,
    weights_of,
)

if TYPE_CHECKING:
    from ovsslib.tuning.candidates import Candidate
    from ovsslib.tuning.search import Space
    from ovsslib.tuning.study.file import Study


def among(study: Study, space: Space) -> Study:
    """The study of fewer candidates.

    Args:
        study: What was stored.
        space: The grid that is left; a part of the study's.

    Raises:
        OvssError: A candidate of it was not studied.
    """
    number = {candidate: row for row, candidate in enumerate(study.space.grid())}
    missing = [candidate for candidate in space.grid() if candidate not in number]
    if missing:
        raise OvssError(f"the study has no {missing[0]}; make it with a space that holds it")
    # The preset's stays the last.
    rows = [*(number[candidate] for candidate in space.grid()), len(number)]
    return dataclasses.replace(
        study,
        space=space,
        rewards=study.rewards[:, rows],
        intersection=study.intersection[rows],
        predicted=study.predicted[rows],
    )


def singles(study: Study) -> np.ndarray:
    """Which candidates of the grid read a single head, as the paper's do: (C - 1,) bool."""
    return np.array([candidate.head is not None for candidate in study.space.grid()])


def choice(study: Study, variant: str | None = None, allowed: np.ndarray | None = None) -> int:
    """Row in the grid of the candidate with the highest reward; of equal ones the first.

    Args:
        study: What was stored.
        variant: Which reward; None for the first.
        allowed: (C - 1,) bool, the candidates to choose from; None for all.
    """
    values = rewards(study, weights_of(study), variant)[:-1]
    return int(np.argmax(values if allowed is None else np.where(allowed, values, -np.inf)))


def regrets(  # noqa: PLR0913 - what is varied
    chooser: Study,
    judge: Study,
    *,
    sampler: str = "random",
    variant: str | None = None,
    allowed: np.ndarray | None = None,
    seeds: int = 20,
    trials: int = TRIALS,
    sizes: Sequence[int] = (),
) -> Any:
    """What searches by the reward choose, judged on images that they have not seen.

    Args:
        chooser: Whose images choose.
        judge: Whose images judge; its space is the same.
        sampler: How candidates are drawn, see `ovsslib.tuning.search.Plan`.
        variant: Which reward; None for the first.
        allowed: (C - 1,) bool, the candidates to draw from; None for all.
        seeds: Searches: seed 0 and on; each takes images by chance.
        trials: Candidates of a search (grid: all).
        sizes: How many images choose; empty for all, and those that are too large are left out.

    Returns:
        DataFrame with a row per size and seed: `images`, `seed`, `row` of the choice in the
        grid, and mean IoU (0..1) on the judge's images: `chosen`, the search's choice;
        `drawn_best` of the candidates it drew; `best` of those allowed and `median` of those that
        are `alive`; `regret`, best - chosen.

    Raises:
        OvssError: The spaces differ, or there is no such reward or sampler.
    """
    import pandas as pd

    given = {"seeds": seeds, "sizes": list(sizes)}
    check_types(given, {"seeds": Count, "sizes": list[Count]})
    if chooser.space != judge.space:
        raise OvssError("the studies are not of the same candidates; make both with one space")
    grid = chooser.space.grid()
    keep = np.ones(len(grid), bool) if allowed is None else allowed
    judged = mean_ious(judge, weights_of(judge))[:-1]
    best, median = float(judged[keep].max()), float(np.median(judged[keep & alive(judge)]))
    count, rows = len(chooser.images), []
    for size in [size for size in sizes if size <= count] or [count]:
        for seed in range(seeds):
            images = np.random.default_rng(seed).permutation(count)[:size]
            values = rewards(chooser, weights_of(chooser, images.tolist()), variant)[:-1]
            draw = _draw(grid, np.where(keep, values, -np.inf), Plan(sampler, trials, seed))
            # Of equal ones the first, as a search does.
            row = draw[int(np.argmax(values[draw]))]
            chosen = float(judged[row])
            rows.append(
                {
                    "images": size,
                    "seed": seed,
                    "row": row,
                    "chosen": chosen,
                    "drawn_best": float(judged[draw].max()),
                    "best": best,
                    "median": median,
                    "regret": best - chosen,
                }
            )
    return pd.DataFrame(rows)


def _draw(grid: Sequence[Candidate], values: np.ndarray, plan: Plan) -> list[int]:
    """Rows of the candidates that a search draws; those of value -inf are not in its space."""
    rows = np.flatnonzero(np.isfinite(values))
    if plan.sampler == "grid":
        return [int(row) for row in rows]
    if plan.sampler == "random":
        order = np.random.default_rng(plan.seed).permutation(len(rows))
        return [int(row) for row in rows[order[: plan.trials]]]
    number = {candidate: row for row, candidate in enumerate(grid)}
    trials = Trials([grid[int(row)] for row in rows], None, "stored")

    def value(candidates: Sequence[Candidate]) -> list[float]:
        return [float(values[number[candidate]]) for candidate in candidates]

    for _ in trials.ask_tpe(value, plan.trials, plan.seed):
        pass
    # The sampler draws from all combinations of the values that occur.
    drawn = [number[candidate] for candidate in trials.values()]
    return [row for row in drawn if np.isfinite(values[row])]


def per_image(
    study: Study, prior: np.ndarray, weight: float, variant: str | None = None
) -> np.ndarray:
    """Choose a candidate for each image by its own reward: no mask is needed for it.

    Args:
        study: With the images.
        prior: (C - 1,) the candidates' rewards on other images, for each class.
        weight: Of the prior beside the image's own reward; 0 leaves it to decide ties.
        variant: Which reward; None for the first.

    Returns:
        (B,) rows in the grid.
    """
    own = rewards_of(study, variant)[:-1] / np.maximum(study.pairs, 1)
    return np.asarray((own + (weight + 1e-6) * prior[:, None]).argmax(0))


def difference(
    study: Study, first: int | np.ndarray, second: int | np.ndarray, *, resamples: int = 1000
) -> Interval:
    """Mean IoU of one choice less that of another, on the same images.

    Args:
        study: With the images.
        first: Row in the grid, or (B,) a row for each image.
        second: The same.
        resamples: Bootstrap resamples of the images.

    Returns:
        The difference, -1..1, with its 95 % percentile interval.
    """
    count = len(study.images)
    right, predicted, true = pixels_of(study)
    numbers = np.arange(count)
    pair = np.stack([np.broadcast_to(rows, count) for rows in (first, second)])
    # Images first, then the two choices, as candidates.
    chosen = [counts[numbers, pair].swapaxes(0, 1) for counts in (right, predicted)]

    def figure(weights: np.ndarray) -> float:
        ious = mean_ious_of([*chosen, true], weights, study.absent)
        return float(ious[0] - ious[1])

    return bootstrap(figure, count, resamples)
