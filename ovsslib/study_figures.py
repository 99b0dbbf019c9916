"""Figures of a study of the reward: mean IoU of every candidate, rank correlation, regret.

All are pure functions of a stored `ovsslib.tuning_study.Study`. Letters: B pictures, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.metrics import Interval, resample_weights
from ovsslib.tuning import TRIALS, drawn

if TYPE_CHECKING:
    from ovsslib.tuning_study import Study


def rewards(study: Study, weights: np.ndarray) -> np.ndarray:
    """Share of the pictures' classes whose mask wins.

    Args:
        study: what was stored.
        weights: (B,) how often each picture counts.

    Returns:
        (C,) float64 in 0..1, NaN where no class is left.
    """
    total = float(study.pairs @ weights)
    return (study.rewards.astype(np.float64) @ weights) / (total or np.nan)


def mean_ious(study: Study, weights: np.ndarray) -> np.ndarray:
    """Mean IoU of every candidate, summed over pictures as `ovsslib.metrics.mean_iou` does.

    Args:
        study: what was stored.
        weights: (B,) how often each picture counts.

    Returns:
        (C,) float64 in 0..1, NaN where no class is left.
    """
    return _mean_ious(_pixels(study), weights, study.absent)


def _pixels(study: Study) -> list[np.ndarray]:
    """Right, predicted and true pixels of the scored classes, pictures first: float64, exact."""
    columns = list(study.scored)
    found = [
        np.moveaxis(one[:, :, columns], 1, 0).astype(np.float64)
        for one in (study.intersection, study.predicted)
    ]
    return [*found, study.truth[:, columns].astype(np.float64)]


def _mean_ious(pixels: list[np.ndarray], weights: np.ndarray, absent: str) -> np.ndarray:
    right, said, true = (np.tensordot(weights, one, 1) for one in pixels)
    union = said + true - right
    kept = union > 0 if absent == "count" else np.broadcast_to(true > 0, union.shape)
    ratios = np.divide(right, union, out=np.zeros(union.shape), where=kept)
    found: np.ndarray = ratios.sum(1) / np.where(kept.any(1), kept.sum(1), np.nan)
    return found


def weights_of(study: Study, pictures: Sequence[int] | None = None) -> np.ndarray:
    """(B,) float64: 1 for the pictures named, 0 for others; None names all.

    Raises:
        OvssError: a picture does not exist, or none is named.
    """
    out = np.zeros(len(study.pictures))
    chosen = range(len(out)) if pictures is None else pictures
    if not len(chosen) or min(chosen) < 0 or max(chosen) >= len(out):
        raise OvssError(f"name pictures from 0 to {len(out) - 1}, at least one")
    out[list(chosen)] = 1
    return out


def frame(study: Study, pictures: Sequence[int] | None = None) -> Any:
    """One row per candidate of the grid.

    Args:
        study: what was stored.
        pictures: over which; None for all.

    Returns:
        DataFrame with ``layer``, ``head`` (0: mean over heads), ``threshold``, ``blur``, ``reward``
        and ``miou`` (0..1).
    """
    import pandas as pd

    weights = weights_of(study, pictures)
    table = pd.DataFrame([vars(one) for one in study.space.grid()])
    table["head"] = table["head"].fillna(0).astype(int)
    table["reward"] = rewards(study, weights)[:-1]
    table["miou"] = mean_ious(study, weights)[:-1]
    return table


def alive(study: Study) -> np.ndarray:
    """Which candidates of the grid mark any pixel as a class: (C - 1,) bool, without the preset's.

    A layer through which no gradient flows gives empty maps: no reward and no mean IoU. Such
    candidates alone make the two look alike.
    """
    return np.asarray(study.predicted[:-1, :, 1:].any((1, 2)))


def rank_correlation(
    study: Study,
    chosen: np.ndarray | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Spearman's rank correlation of reward and mean IoU over the grid.

    Args:
        study: what was stored.
        chosen: (C - 1,) bool, which candidates of the grid are looked at; None for all.
        level: coverage of the interval, 0..1.
        resamples: bootstrap resamples of the pictures; a resample changes both figures.
        seed: of the resamples.

    Returns:
        The correlation, -1..1, with its percentile interval.
    """
    from scipy.stats import spearmanr

    rows = slice(None) if chosen is None else chosen
    pixels = _pixels(study)

    def figure(weights: np.ndarray) -> float:
        mious = _mean_ious(pixels, weights, study.absent)
        pair = rewards(study, weights)[:-1][rows], mious[:-1][rows]
        return float(spearmanr(*pair).statistic)

    count = len(study.pictures)
    several = resample_weights(count, resamples=resamples, seed=seed).astype(np.float64)
    tail = 50 * (1 - level)
    ends = np.nanpercentile([figure(one) for one in several], [tail, 100 - tail])
    return Interval(figure(np.ones(count)), float(ends[0]), float(ends[1]))


def halves(study: Study) -> tuple[list[int], list[int]]:
    """Pictures with even and with odd numbers: one half chooses, the other one judges.

    Raises:
        OvssError: there are fewer than two pictures.
    """
    count = len(study.pictures)
    if count < 2:
        raise OvssError("one picture has no halves; study two or more")
    return list(range(0, count, 2)), list(range(1, count, 2))


def regrets(
    study: Study, *, seeds: int = 20, trials: int = TRIALS, sizes: Sequence[int] = ()
) -> Any:
    """What random searches by the reward find, judged on pictures that they have not seen.

    Args:
        study: what was stored.
        seeds: searches: seed 0 and on.
        trials: candidates of a search, drawn as ``ovss tune`` does.
        sizes: how many pictures of a half choose, the first so many; those larger than the half are
            left out. The whole half is always among them.

    Returns:
        DataFrame with a row per half, size and seed: ``half`` (0 or 1, the one that chooses),
        ``pictures``, ``seed``, ``place`` of the choice in the grid, and mean IoU (0..1) on the
        other half: ``chosen``, the search's choice; ``drawn_best`` and ``drawn_median`` of the
        candidates it drew; ``best`` of the grid and ``median`` of those that are `alive`;
        ``regret``, best - chosen; ``gain``, chosen - median.

    Raises:
        OvssError: as `halves`.
    """
    import pandas as pd

    grid = study.space.grid()
    place = {one: number for number, one in enumerate(grid)}
    draws = [[place[one] for one in drawn(study.space, trials, seed)] for seed in range(seeds)]
    rows = []
    both = halves(study)
    for half, chooses in enumerate(both):
        judged = mean_ious(study, weights_of(study, both[1 - half]))[:-1]
        best, median = float(judged.max()), float(np.median(judged[alive(study)]))
        for size in sorted({*(s for s in sizes if 1 <= s < len(chooses)), len(chooses)}):
            found = rewards(study, weights_of(study, chooses[:size]))
            for seed, draw in enumerate(draws):
                # Of equal ones the first, as a search does.
                choice = draw[int(np.argmax(found[draw]))]
                chosen = float(judged[choice])
                rows.append(
                    {
                        "half": half,
                        "pictures": size,
                        "seed": seed,
                        "place": choice,
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


def misleading(table: Any) -> Any:
    """Layers and heads by how much higher they rank by the reward than by mean IoU.

    Args:
        table: what `frame` returned.

    Returns:
        DataFrame with a row per layer and head, means over thresholds and blurs of ``reward`` and
        ``miou``, their ranks (1 is the highest) and ``lead``: rank by mean IoU - rank by reward.
        The most misleading first.
    """
    means = table.groupby(["layer", "head"], as_index=False)[["reward", "miou"]].mean()
    for name in ("reward", "miou"):
        means[f"rank_{name}"] = means[name].rank(ascending=False, method="min").astype(int)
    means["lead"] = means["rank_miou"] - means["rank_reward"]
    return means.sort_values("lead", ascending=False, kind="stable", ignore_index=True)
