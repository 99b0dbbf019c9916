"""Figures of a study of the reward: mean IoU of every candidate, rank correlation.

All are pure functions of a stored `ovsslib.tuning.study.file.Study`. Letters: B images, C
candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import unknown
from ovsslib.metrics.iou import Interval, resample_weights

if TYPE_CHECKING:
    from ovsslib.tuning.study.file import Study


def rewards(study: Study, weights: np.ndarray, variant: str | None = None) -> np.ndarray:
    """Reward for each class of the images: the paper's is the share of those whose mask wins.

    Args:
        study: What was stored.
        weights: (B,) how often each image counts.
        variant: Which reward, one of `study.variants`; None for the first.

    Returns:
        (C,) float64, NaN where no class is left.

    Raises:
        OvssError: There is no such reward in the study.
    """
    total = float(study.pairs @ weights)
    return (rewards_of(study, variant).astype(np.float64) @ weights) / (total or np.nan)


def rewards_of(study: Study, variant: str | None = None) -> np.ndarray:
    """One reward of every candidate for every image.

    Args:
        study: What was stored.
        variant: One of `study.variants`; None for the first.

    Returns:
        (C, B) float32.

    Raises:
        OvssError: There is no such reward in the study.
    """
    if not study.variants:
        raise OvssError("the study has no rewards: it was made with --no-rewards")
    name = study.variants[0] if variant is None else variant
    if name not in study.variants:
        raise unknown("reward of the study", name, study.variants)
    rewards: np.ndarray = study.rewards[study.variants.index(name)]
    return rewards


def mean_ious(study: Study, weights: np.ndarray) -> np.ndarray:
    """Mean IoU of every candidate, summed over images as `ovsslib.metrics.iou.mean_iou` does.

    Args:
        study: What was stored.
        weights: (B,) how often each image counts.

    Returns:
        (C,) float64 in 0..1, NaN where no class is left.
    """
    return mean_ious_of(pixels_of(study), weights, study.absent)


def pixels_of(study: Study) -> list[np.ndarray]:
    """Right, predicted and true pixels of the scored classes, images first: float64, exact."""
    columns = list(study.scored)
    right, predicted = (
        np.moveaxis(counts[:, :, columns], 1, 0).astype(np.float64)
        for counts in (study.intersection, study.predicted)
    )
    return [right, predicted, study.truth[:, columns].astype(np.float64)]


def mean_ious_of(pixels: list[np.ndarray], weights: np.ndarray, absent: str) -> np.ndarray:
    """As `mean_ious`, of what `pixels_of` gave."""
    right, predicted, true = (np.tensordot(weights, counts, 1) for counts in pixels)
    union = predicted + true - right
    scored = union > 0 if absent == "count" else np.broadcast_to(true > 0, union.shape)
    ratios = np.divide(right, union, out=np.zeros(union.shape), where=scored)
    mean: np.ndarray = ratios.sum(1) / np.where(scored.any(1), scored.sum(1), np.nan)
    return mean


def weights_of(study: Study, images: Sequence[int] | None = None) -> np.ndarray:
    """(B,) float64: 1 for the images named, 0 for others; None names all.

    Raises:
        OvssError: An image does not exist, or none is named.
    """
    out = np.zeros(len(study.images))
    chosen = range(len(out)) if images is None else images
    if not len(chosen) or min(chosen) < 0 or max(chosen) >= len(out):
        raise OvssError(f"name images from 0 to {len(out) - 1}, at least one")
    out[list(chosen)] = 1
    return out


def frame(study: Study, variant: str | None = None) -> Any:
    """One row per candidate of the grid.

    Args:
        study: What was stored.
        variant: Which reward; None for the first.

    Returns:
        DataFrame with `layer`, `head` (0: mean over all), `threshold`, `blur`, `reward` and `miou`
        (0..1).
    """
    import pandas as pd

    weights = weights_of(study)
    grid = study.space.grid()
    table = pd.DataFrame([vars(candidate) | {"head": candidate.head or 0} for candidate in grid])
    table["reward"] = rewards(study, weights, variant)[:-1]
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
    variant: str | None = None,
    resamples: int = 1000,
) -> Interval:
    """Spearman's rank correlation of reward and mean IoU over the grid.

    Args:
        study: What was stored.
        chosen: (C - 1,) bool, which candidates of the grid are compared; None for all.
        variant: Which reward; None for the first.
        resamples: Bootstrap resamples of the images; a resample changes both figures.

    Returns:
        The correlation, -1..1, with its 95 % percentile interval.
    """
    from scipy.stats import spearmanr

    rows = slice(None) if chosen is None else chosen
    pixels = pixels_of(study)

    def figure(weights: np.ndarray) -> float:
        mious = mean_ious_of(pixels, weights, study.absent)
        pair = rewards(study, weights, variant)[:-1][rows], mious[:-1][rows]
        return float(spearmanr(*pair).statistic)

    return bootstrap(figure, len(study.images), resamples)


def bootstrap(figure: Callable[[np.ndarray], float], count: int, resamples: int = 1000) -> Interval:
    """A figure with its 95 % percentile interval over images.

    Args:
        figure: Of (B,) float64, how often each image counts.
        count: B.
        resamples: Bootstrap resamples of the images.
    """
    weights = resample_weights(count, resamples=resamples).astype(np.float64)
    low, high = np.nanpercentile([figure(row) for row in weights], [2.5, 97.5])
    return Interval(figure(np.ones(count)), float(low), float(high))


def misleading(table: Any) -> Any:
    """Layers and heads by how much higher they rank by the reward than by mean IoU.

    Args:
        table: What `frame` returned.

    Returns:
        DataFrame with a row per layer and head, means over thresholds and blurs of `reward` and
        `miou`, their ranks (1 is the highest) and `lead`: rank by mean IoU - rank by reward.
        The most misleading first.
    """
    means = table.groupby(["layer", "head"], as_index=False)[["reward", "miou"]].mean()
    for name in ("reward", "miou"):
        means[f"rank_{name}"] = means[name].rank(ascending=False, method="min").astype(int)
    means["lead"] = means["rank_miou"] - means["rank_reward"]
    return means.sort_values("lead", ascending=False, kind="stable", ignore_index=True)
