"""How well the patches of a class are told from the others, per layer and head (evaluation only).

Masks are read here to look at a model, never to train or to choose for a split that is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError

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


def layer_head_auc(
    matcher: ImageTextMatcher,
    data: Dataset,
    *,
    limit: int | None = None,
    salience: Sequence[str] = ("attention",),
    prompt: str = "A picture of",
    min_share: float = 0.5,
) -> Any:
    """AUC of every layer and head, and of the mean over heads, over a data set's images.

    Args:
        matcher: The vision-language model.
        data: Images with label maps; each image is asked for the classes in its label map.
        limit: The first so many images; None for all.
        salience: `"attention"`, `"gradcam"` (attention times positive gradient of the match
            logit) or `"margin"` (of the match logit minus the no-match logit).
        prompt: Words before the names.
        min_share: A patch is of a class when at least this share of its pixels is.

    Returns:
        DataFrame: salience, layer, head (1.. or `"mean"`), auc (mean over images and classes).

    Raises:
        OvssError: An unknown kind of salience.
    """
    import pandas as pd

    from ovsslib.pnp.prompt import build_prompts
    from ovsslib.pnp.salience import class_maps

    found: dict[tuple[str, int, Any], list[float]] = {}
    for name in data.ids[:limit]:
        label = data.label(name)
        present = [int(k) for k in np.unique(label) if 0 < k <= len(data.classes)]
        if not present:
            continue
        names = [data.classes[k - 1] for k in present]
        [text] = build_prompts(
            names, matcher.tokenize, prefix=prompt, separator=" ", max_tokens=matcher.max_tokens
        )
        tokens = matcher.encode_images(matcher.preprocess([data.image(name)]))
        side = round((tokens.shape[1] - 1) ** 0.5)
        truth = [patch_share(label, k, side) >= min_share for k in present]
        for layer in range(1, matcher.layers + 1):
            for kind in salience:
                maps = _head_maps(matcher, tokens, text.tokens, layer, kind)
                for head in [*range(1, matcher.heads + 1), "mean"]:
                    one = maps.mean(0) if head == "mean" else maps[int(head) - 1]
                    scores = class_maps(one, text.spans).numpy()
                    values = found.setdefault((kind, layer, head), [])
                    values += [auc(s, t) for s, t in zip(scores, truth, strict=True)]
    rows = [(*key, float(np.nanmean(values))) for key, values in found.items()]
    return pd.DataFrame(rows, columns=["salience", "layer", "head", "auc"])


def _head_maps(matcher: Any, tokens: Any, text: Any, layer: int, kind: str) -> Any:
    """Salience (A, T, P) of one image and one prompt."""
    from ovsslib.pnp.salience import attention_gradient

    if kind not in ("attention", "gradcam", "margin"):
        raise OvssError(f"unknown salience {kind!r}: use attention, gradcam or margin")
    match = matcher.match(tokens, [text], layer, gradient=kind != "attention")
    attention = match.attention.detach().float()
    if kind != "attention":
        slope = attention_gradient(match, "match" if kind == "gradcam" else "margin")
        attention = attention * slope.float().relu()
    return attention[0, :, :, 1:].cpu()
