"""What the gradient of the match score adds to attention, patch by patch (evaluation only).

Masks are read here to look at a model, never to train or to choose for a split that is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.evaluate.localisation import KINDS, MIN_SHARE, auc, patch_share
from ovsslib.lookup import Count, Seed, check_types
from ovsslib.pnp.all_layers import layer_maps, layer_slopes
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import prompts_for
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

    from ovsslib.datasets.base import Dataset
    from ovsslib.vlm.protocol import ImageTextMatcher


def present(data: Dataset, name: str, side: int) -> dict[str, np.ndarray]:
    """Classes of an image that fill a patch: name -> (side * side,) bool, its patches."""
    label = data.label(name)
    shares = {
        data.classes[k - 1]: patch_share(label, int(k), side) >= MIN_SHARE
        for k in np.unique(label)
        if 0 < k <= len(data.classes)
    }
    return {key: patches for key, patches in shares.items() if patches.any()}


def readable(
    data: Dataset, limit: int | None, side: int
) -> Iterator[tuple[str, Image.Image, dict[str, np.ndarray]]]:
    """Name, image and `present` of the first so many images; one that cannot be read is left out.

    A run over the same images names those.
    """
    for name in data.ids[:limit]:
        try:
            found = data.image(name), present(data, name, side)
        except OvssError:
            continue
        yield name, *found


def separation(maps: np.ndarray, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How alike the maps of an image's classes are, and how often the right one is largest.

    Args:
        maps: (..., K, P) of K classes, K at least 2.
        patches: (K, P) bool, each class's own.

    Returns:
        Two arrays (...): the mean correlation of two classes' maps, in -1..1 (a constant map has
        none: 0), and the share of the patches of any class whose own map is the largest after each
        map's min-max normalisation, in 0..1.

    Example:
        >>> maps = np.array([[0.0, 1.0], [3.0, 0.0]])
        >>> [round(float(figure), 6) for figure in separation(maps, maps > 0)]
        [-1.0, 1.0]
    """
    low, high = maps.min(-1, keepdims=True), maps.max(-1, keepdims=True)
    even = np.where(high > low, high - low, 1)
    scaled = (maps - low) / even
    centred = scaled - scaled.mean(-1, keepdims=True)
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    unit = centred / np.where(norm > 0, norm, 1)
    pairs = np.triu_indices(maps.shape[-2], 1)
    alike = (unit @ np.swapaxes(unit, -1, -2))[..., pairs[0], pairs[1]].mean(-1)
    some = patches.any(0)
    right = scaled.argmax(-2)[..., some] == patches.argmax(0)[some]
    return alike, right.mean(-1)


def layer_head_gradient(
    matcher: ImageTextMatcher,
    data: Dataset,
    config: PnPConfig | None = None,
    *,
    limit: int | None = None,
) -> Any:
    """Attention, gradient and GradCAM of every layer and head, over images of several classes.

    Args:
        matcher: The vision-language model.
        data: Images with label maps; each image is asked for the classes in its label map.
        config: Its prompt, score and input size are used; None for the default's.
        limit: The first so many images; None for all. One that cannot be read is left out.

    Returns:
        DataFrame with a row for every layer and head (1.. or `"mean"`):
        `auc_attention`, `auc_gradcam` and `auc_gradient`, the last of the gradient alone (0.5 is
        chance), `alike_…` and `right_…` of the first two (`separation`), means over images;
        `inside` and `outside`, the gradient's mean at patches of the class and at others, and
        `positive_inside` and `positive_outside`, the share of those patches where it is above 0.

    Raises:
        OvssError: The model does not give all layers at once, or no image has two classes.
    """
    import pandas as pd

    check_types({"limit": limit}, {"limit": Count | None})
    base = (config or PnPConfig()).replace(salience="gradcam")
    rows: dict[tuple[int, int | str], list[dict[str, float]]] = {}
    side = (base.image_size or matcher.image_size) // matcher.patch_size
    for _, image, owned in readable(data, limit, side):
        if len(owned) < 2:
            continue
        patches, names = np.stack(list(owned.values())), list(owned)
        maps = {
            kind: _with_mean(layer_maps(matcher, base.replace(salience=kind), [image], [names])[0])
            for kind in ("attention", "gradcam")
        }
        (slopes,) = layer_slopes(matcher, base, [image], [names])
        slopes = _with_mean(slopes)
        apart = {kind: separation(each, patches) for kind, each in maps.items()}
        for layer, head in np.ndindex(*slopes.shape[:2]):
            slope = slopes[layer, head]
            row = {
                "inside": slope[patches].mean(),
                "outside": slope[~patches].mean(),
                "positive_inside": (slope[patches] > 0).mean(),
                "positive_outside": (slope[~patches] > 0).mean(),
                "auc_gradient": _mean_auc(slope, patches),
            }
            for kind, each in maps.items():
                row[f"auc_{kind}"] = _mean_auc(each[layer, head], patches)
                row[f"alike_{kind}"], row[f"right_{kind}"] = (
                    figure[layer, head] for figure in apart[kind]
                )
            number = "mean" if head == matcher.heads else head + 1
            rows.setdefault((layer + 1, number), []).append(row)
    if not rows:
        raise OvssError(f"no image of {data.name} fills patches of two classes; give more images")
    table = [
        {"layer": layer, "head": head, **pd.DataFrame(found).mean().to_dict()}
        for (layer, head), found in rows.items()
    ]
    return pd.DataFrame(table)


def _mean_auc(maps: np.ndarray, patches: np.ndarray) -> float:
    """Mean AUC of the maps (K, P) of classes with the patches (K, P)."""
    return float(np.nanmean([auc(*pair) for pair in zip(maps, patches, strict=True)]))


def _with_mean(maps: np.ndarray) -> np.ndarray:
    """(L, A, K, P) and the mean over heads after them: (L, A + 1, K, P)."""
    return np.concatenate([maps, maps.mean(axis=1, keepdims=True)], axis=1)


def by_certainty(
    matcher: ImageTextMatcher,
    data: Dataset,
    config: PnPConfig,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> Any:
    """Localisation of every image and class beside how sure the model is that the prompt fits.

    Args:
        matcher: The vision-language model.
        data: Images with label maps.
        config: Layer, head and prompt.
        limit: The first so many images; None for all. One that cannot be read is left out.
        seed: Of the false class, which is one that the image does not show.

    Returns:
        DataFrame with a row for every image, class and `prompt`, which is `"true"` (the image's
        classes) or `"false class"` (one more among them): `probability` of a match of the prompt
        that names the class, and the AUC of `attention`, of GradCAM by the match logit (`gradcam`)
        and by the log-odds (`margin`).

    Raises:
        OvssError: The model does not give all layers at once.
    """
    import pandas as pd

    check_types({"limit": limit, "seed": seed}, {"limit": Count | None, "seed": Seed})
    rng = np.random.default_rng(seed)
    heads = slice(None) if config.head is None else slice(config.head - 1, config.head)
    rows = []
    side = (config.image_size or matcher.image_size) // matcher.patch_size
    for name, image, owned in readable(data, limit, side):
        absent = sorted(set(data.classes) - set(owned))
        asked = {"true": list(owned)}
        if absent:
            asked["false class"] = rng.permutation([*owned, str(rng.choice(absent))]).tolist()
        for prompt, names in asked.items() if owned else ():
            maps = {}
            for kind, changes in KINDS.items():
                (each,) = layer_maps(matcher, config.replace(**changes), [image], [names])
                maps[kind] = each[config.layer - 1, heads].mean(0)
            sure = _probabilities(matcher, config, image, names)
            for k, word in enumerate(names):
                if word in owned:
                    row = {"image": name, "class": word, "prompt": prompt, "probability": sure[k]}
                    rows.append(row | {kind: auc(m[k], owned[word]) for kind, m in maps.items()})
    return pd.DataFrame(rows)


@own_state()
def _probabilities(
    matcher: ImageTextMatcher, config: PnPConfig, image: Image.Image, names: Sequence[str]
) -> list[float]:
    """The match probability of the prompt that names each class."""
    prompts = prompts_for(matcher, config, names)
    tokens = matcher.encode_images(matcher.preprocess([image], config.image_size))
    repeated = tokens.repeat(len(prompts), 1, 1)
    match = matcher.match(repeated, [prompt.tokens for prompt in prompts], 1)
    chances = match.probability.tolist()
    return [chance for chance, prompt in zip(chances, prompts, strict=True) for _ in prompt.spans]
