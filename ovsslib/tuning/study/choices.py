"""What is chosen by a reward, and what the choice is worth on images that it has not seen.

All are pure functions of stored `ovsslib.tuning.study.judge.Study`s. Letters: B images, C
candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.metrics.iou import Interval
from ovsslib.tuning.search import TRIALS, Plan
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
from ovsslib.tuning.trials import ask_sampler, finished, open_study

if TYPE_CHECKING:
    from ovsslib.tuning.candidates import Candidate
    from ovsslib.tuning.search import Space
    from ovsslib.tuning.study.judge import Study


def among(study: Study, space: Space) -> Study:
    """The study of fewer candidates.

    Args:
        study: What was stored.
        space: The grid that is left; a part of the study's.

    Raises:
        OvssError: A candidate of it was not studied.
    """
    number = {one: place for place, one in enumerate(study.space.grid())}
    missing = [one for one in space.grid() if one not in number]
    if missing:
        raise OvssError(f"the study has no {missing[0]}; make it with a space that holds it")
    # The preset's stays the last.
    places = [*(number[one] for one in space.grid()), len(number)]
    return dataclasses.replace(
        study,
        space=space,
        rewards=study.rewards[:, places],
        intersection=study.intersection[places],
        predicted=study.predicted[places],
    )


def singles(study: Study) -> np.ndarray:
    """Which candidates of the grid read a single head, as the paper's do: (C - 1,) bool."""
    return np.array([isinstance(one.head, int) for one in study.space.grid()])


def choice(
    study: Study,
    pictures: Sequence[int] | None = None,
    variant: str | None = None,
    allowed: np.ndarray | None = None,
) -> int:
    """Place of the candidate of the grid with the highest reward; of equal ones the first.

    Args:
        study: What was stored.
        pictures: That choose; None for all.
        variant: Which reward; None for the first.
        allowed: (C - 1,) bool, the candidates to choose from; None for all.
    """
    found = rewards(study, weights_of(study, pictures), variant)[:-1]
    return int(np.argmax(found if allowed is None else np.where(allowed, found, -np.inf)))


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
    """What searches by the reward find, judged on images that they have not seen.

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
        DataFrame with a row per size and seed: `pictures`, `seed`, `place` of the choice in
        the grid, and mean IoU (0..1) on the judge's images: `chosen`, the search's choice;
        `drawn_best` and `drawn_median` of the candidates it drew; `best` of those allowed and
        `median` of those that are `alive`; `regret`, best - chosen; `gain`, chosen - median.

    Raises:
        OvssError: The spaces differ, or there is no such reward or sampler.
    """
    import pandas as pd

    if chooser.space != judge.space:
        raise OvssError("the studies are not of the same candidates; make both with one space")
    grid = chooser.space.grid()
    keep = np.ones(len(grid), bool) if allowed is None else allowed
    judged = mean_ious(judge, weights_of(judge))[:-1]
    best, median = float(judged[keep].max()), float(np.median(judged[keep & alive(judge)]))
    count, rows = len(chooser.pictures), []
    for size in [size for size in sizes if size <= count] or [count]:
        for seed in range(seeds):
            pictures = np.random.default_rng(seed).permutation(count)[:size]
            values = rewards(chooser, weights_of(chooser, pictures.tolist()), variant)[:-1]
            draw = _draw(grid, np.where(keep, values, -np.inf), Plan(sampler, trials, seed))
            # Of equal ones the first, as a search does.
            place = draw[int(np.argmax(values[draw]))]
            chosen = float(judged[place])
            rows.append(
                {
                    "pictures": size,
                    "seed": seed,
                    "place": place,
                    "chosen": chosen,
                    "drawn_best": float(judged[draw].max()),
                    "drawn_median": float(np.median(judged[draw])),
                    "best": best,
                    "median": median,
                    "regret": best - chosen,
                    "gain": chosen - median,
                }
            )
    return pd.DataFrame(rows)


def _draw(grid: Sequence[Candidate], values: np.ndarray, plan: Plan) -> list[int]:
    """Places of the candidates that a search draws; those of value -inf are not in its space."""
    places = np.flatnonzero(np.isfinite(values))
    if plan.sampler == "grid":
        return [int(place) for place in places]
    if plan.sampler == "random":
        order = np.random.default_rng(plan.seed).permutation(len(places))
        return [int(place) for place in places[order[: plan.trials]]]
    number = {one: place for place, one in enumerate(grid)}
    inside = [grid[int(place)] for place in places]
    study = open_study(plan.sampler, plan.seed, None, "stored")
    ask = ask_sampler(
        study, lambda few: [float(values[number[one]]) for one in few], inside, plan.trials
    )
    for _ in ask:
        pass
    # The sampler draws from all combinations of the values that occur.
    return [number[one] for one in finished(study) if np.isfinite(values[number[one]])]


def per_picture(
    study: Study, prior: np.ndarray, weight: float, variant: str | None = None
) -> np.ndarray:
    """Choose a candidate for each image by its own reward: no mask is needed for it.

    Args:
        study: With the images.
        prior: (C - 1,) the candidates' rewards on other images, for each class.
        weight: Of the prior beside the image's own reward; 0 leaves it to decide ties.
        variant: Which reward; None for the first.

    Returns:
        (B,) places in the grid.
    """
    own = rewards_of(study, variant)[:-1] / np.maximum(study.pairs, 1)
    return np.asarray((own + (weight + 1e-6) * prior[:, None]).argmax(0))


def difference(
    study: Study,
    one: int | np.ndarray,
    other: int | np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Mean IoU of one choice less that of another, on the same images.

    Args:
        study: With the images.
        one: Place in the grid, or (B,) a place for each image.
        other: The same.
        level: Coverage of the interval, 0..1.
        resamples: Bootstrap resamples of the images.
        seed: Of the resamples.

    Returns:
        The difference, -1..1, with its percentile interval.
    """
    count = len(study.pictures)
    right, said, true = pixels_of(study)
    numbers = np.arange(count)
    pair = np.stack([np.broadcast_to(places, count) for places in (one, other)])
    # Images first, then the two choices, as candidates.
    pixels = [right[numbers, pair].swapaxes(0, 1), said[numbers, pair].swapaxes(0, 1), true]

    def figure(weights: np.ndarray) -> float:
        found = mean_ious_of(pixels, weights, study.absent)
        return float(found[0] - found[1])

    return bootstrap(figure, count, level=level, resamples=resamples, seed=seed)
