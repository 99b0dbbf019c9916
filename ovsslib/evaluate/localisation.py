"""How well patches of a class are separated from the others, per layer and head (evaluation only).

Masks are read here to look at a model, never to train or to choose for a split that is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.lookup import Count, check_types, pick
from ovsslib.pnp.all_layers import layer_maps
from ovsslib.pnp.config import PnPConfig
from ovsslib.vlm.finite import check_scores

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.vlm.protocol import ImageTextMatcher


def patch_share(label: np.ndarray, value: int, side: int) -> np.ndarray:
    """Share of each patch's pixels that have a label.

    Args:
        label: (H, W) label map.
        value: The label.
        side: Patches per side of the square grid that the image is squashed to.

    Returns:
        (side * side,) float64 in 0..1.

    Example:
        >>> patch_share(np.array([[1, 1, 0, 0], [1, 0, 0, 0]]), 1, 2).tolist()
        [1.0, 0.0, 0.5, 0.0]
    """
    height, width = label.shape
    rows = np.minimum(np.arange(height) * side // height, side - 1)
    columns = np.minimum(np.arange(width) * side // width, side - 1)
    patch = (rows[:, None] * side + columns[None]).ravel()
    hits = np.bincount(patch, weights=(label == value).ravel(), minlength=side * side)
    return hits / np.maximum(np.bincount(patch, minlength=side * side), 1)


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve; ties count half.

    Args:
        scores: (P,) any real numbers.
        truth: (P,) bool.

    Returns:
        0..1; NaN where all patches are of one kind.

    Example:
        >>> auc(np.array([0.1, 0.9, 0.5, 0.5]), np.array([False, True, True, False]))
        0.875
    """
    from scipy.stats import rankdata

    positive = int(truth.sum())
    negative = truth.size - positive
    if not positive or not negative:
        return float("nan")
    above = rankdata(scores)[truth].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


KINDS: dict[str, dict[str, str]] = {
    "attention": {"salience": "attention"},
    "gradcam": {"salience": "gradcam"},
    "margin": {"salience": "gradcam", "score": "margin"},
}
"""Kind of salience -> settings of `PnPConfig`."""
MIN_SHARE = 0.5
"""A patch is of a class when at least this share of its pixels is."""


def layer_head_auc(
    matcher: ImageTextMatcher,
    data: Dataset,
    *,
    limit: int | None = None,
    salience: Sequence[str] = ("attention",),
) -> Any:
    """AUC of every layer and head, and of the mean over heads, over a data set's images.

    Args:
        matcher: The vision-language model.
        data: Images with label maps; each image is asked for the classes in its label map.
        limit: The first so many images; None for all.
        salience: `"attention"`, `"gradcam"` (attention times positive gradient of the match
            logit) or `"margin"` (of the match logit minus the no-match logit).

    Returns:
        DataFrame: salience, layer, head (1.. or `"mean"`), auc (mean over images and classes).

    Raises:
        OvssError: An unknown kind of salience, or the model does not give all layers at once,
            or its maps are not finite.
    """
    import pandas as pd

    check_types({"limit": limit}, {"limit": Count | None})
    configs = {kind: PnPConfig(**pick("kind of salience", kind, KINDS)) for kind in salience}  # type: ignore[arg-type]
    values: dict[tuple[str, int, Any], list[float]] = {}
    for name in data.ids[:limit]:
        label, image = data.label(name), data.image(name)
        present = [int(k) for k in np.unique(label) if 0 < k <= len(data.classes)]
        names = [data.classes[k - 1] for k in present]
        for kind, config in configs.items():
            (maps,) = layer_maps(matcher, config, [image], [names])  # (L, A, K, P)
            check_scores(maps, f"{name}: {matcher.name}")
            truth = [patch_share(label, k, round(maps.shape[-1] ** 0.5)) for k in present]
            both = np.concatenate([maps, maps.mean(axis=1, keepdims=True)], axis=1)
            for layer, head in np.ndindex(*both.shape[:2]):
                key = (kind, layer + 1, "mean" if head == matcher.heads else head + 1)
                scores = zip(both[layer, head], truth, strict=True)
                values.setdefault(key, []).extend(auc(s, t >= MIN_SHARE) for s, t in scores)
    rows = [(*key, float(np.nanmean(each))) for key, each in values.items()]
    return pd.DataFrame(rows, columns=["salience", "layer", "head", "auc"])
