"""Which pixels, and which image tokens, the match score needs (evaluation only).

A map over patches can find an object only if the tokens of its patches carry it. The score may need
the object's pixels and yet read it from other tokens, to which the image encoder has carried
it; then attention over patches, with or without a gradient, is a map of something else.

Masks are read here to look at a model, never to train or to choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ovsslib.evaluate.gradient import readable
from ovsslib.lookup import Count, Seed, check_types
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import prompts_for
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.datasets.base import Dataset
    from ovsslib.vlm.protocol import ImageTextMatcher


@own_state()
def erasure(
    matcher: ImageTextMatcher,
    data: Dataset,
    config: PnPConfig | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> Any:
    """The match logit of each class in an image, alone in its prompt, as parts are taken away.

    What is taken away becomes the mean of what is left: pixels before the image encoder, tokens
    behind it.

    Args:
        matcher: The vision-language model.
        data: Images with label maps.
        config: Its prompt and input size are used; None for the default's.
        limit: The first so many images; None for all. One that cannot be read is left out.
        seed: Of the other patches.

    Returns:
        DataFrame with a row for every image and class that fills at least one patch and at most
        half of them: `kind` (thing or stuff), `patches`, their number, and logits: `whole`, without
        the class's `pixels` or `tokens`, and without those of as many other patches
        (`other_pixels`, `other_tokens`).
    """
    import pandas as pd

    check_types({"limit": limit, "seed": seed}, {"limit": Count | None, "seed": Seed})
    base, rng = config or PnPConfig(), np.random.default_rng(seed)
    side = (base.image_size or matcher.image_size) // matcher.patch_size
    rows = []
    for name, image, owned in readable(data, limit, side):
        pixels = matcher.preprocess([image], base.image_size)[0]
        cells = _cells(pixels, side)
        for word, patches in owned.items():
            count = int(patches.sum())
            if 2 * count > len(patches):
                continue
            others = np.zeros_like(patches)
            others[rng.choice(np.flatnonzero(~patches), count, replace=False)] = True
            gone = {"": patches, "other_": others}
            images = [_image(_without(cells, part), side) for part in gone.values()]
            tokens = matcher.encode_images(torch.stack([pixels, *images]))
            whole = tokens[0]
            cut = [torch.cat([whole[:1], _without(whole[1:], part)]) for part in gone.values()]
            prompt = prompts_for(matcher, base, [word])[0].tokens
            shown = torch.cat([tokens, torch.stack(cut)])
            logits = matcher.match(shown, [prompt] * len(shown), 1).logit.tolist()
            titles = ["whole", *(f"{o}{part}" for part in ("pixels", "tokens") for o in gone)]
            kind = "thing" if data.classes.index(word) + 1 in data.things else "stuff"
            facts = {"image": name, "class": word, "kind": kind, "patches": count}
            rows.append(facts | dict(zip(titles, logits, strict=True)))
    return pd.DataFrame(rows or {"kind": []})


def _cells(pixels: Tensor, side: int) -> Tensor:
    """An image (3, S, S) as its patches' pixels (P, 3, p * p)."""
    edge = pixels.shape[-1] // side
    parts = pixels.unflatten(2, (side, edge)).unflatten(1, (side, edge))
    return parts.permute(1, 3, 0, 2, 4).reshape(side * side, 3, -1)


def _image(cells: Tensor, side: int) -> Tensor:
    """`_cells` undone."""
    edge = int(cells.shape[2] ** 0.5)
    parts = cells.reshape(side, side, 3, edge, edge).permute(2, 0, 3, 1, 4)
    return parts.reshape(3, side * edge, side * edge)


def _without(rows: Tensor, gone: np.ndarray) -> Tensor:
    """Tokens (P, D), or pixels (P, 3, p * p), those of `gone` (P,) replaced.

    By the mean of the other tokens, or by the other pixels' mean colour.
    """
    lost = torch.from_numpy(gone).to(rows.device).view(-1, *[1] * (rows.ndim - 1))
    left = rows[~lost.flatten()].mean(0)
    return torch.where(lost, left if rows.ndim == 2 else left.mean(1, keepdim=True), rows)
