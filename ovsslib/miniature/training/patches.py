"""Patches while training: which are kept, and what all of an image's say together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

# Share of the patches that a training step keeps, drawn evenly from this range.
KEPT = (0.4, 0.65)
LATE = 0.5
"""Share of the steps with `late` class tokens (`through`), where a recipe has them."""


def keep_patches(cells: int, batch: int, rng: np.random.Generator) -> Tensor:
    """Patches that a training step keeps, in 1, 2 x 2 or 3 x 3 windows: `(B, W, K)` numbers.

    Windows are encoded separately: cheaper, and tokens stay local.

    Args:
        cells: Patches along a side.
        batch: Images, B.
        rng: Source of randomness.
    """
    parts = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    band = (np.arange(cells) * parts) // cells
    window = (band[:, None] * parts + band[None]).ravel()
    keep = max(1, int(np.bincount(window).min() * rng.uniform(*KEPT)))
    chosen = [
        rng.permuted(np.tile(np.flatnonzero(window == w), (batch, 1)), axis=1)[:, :keep]
        for w in range(parts**2)
    ]
    return torch.from_numpy(np.stack(chosen, 1))


def split_windows(tokens: Tensor, chosen: Tensor) -> Tensor:
    """Tokens `(B, 1 + P, D)` to `(B * W, 1 + K, D)`, each with a copy of the class token.

    Args:
        tokens: The class token first.
        chosen: `(B, W, K)` from `keep_patches`.
    """
    batch, windows = chosen.shape[:2]
    index = 1 + chosen.reshape(batch, -1, 1).expand(-1, -1, tokens.shape[-1])
    patches = tokens.gather(1, index).unflatten(1, (windows, -1)).flatten(0, 1)
    return torch.cat([tokens[:, :1].repeat_interleave(windows, 0), patches], 1)


def some_patches(tokens: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Tokens `(B, 1 + K, D)` of each image: the first, and a share of the others, at random.

    Args:
        tokens: `(B, 1 + P, D)`.
        share: K / P, 0..1; at least one is kept.
        rng: Source of randomness.
    """
    batch, count = len(tokens), tokens.shape[1] - 1
    order = rng.permuted(np.tile(np.arange(count), (batch, 1)), axis=1)
    chosen = torch.from_numpy(order[:, None, : max(1, round(share * count))])
    return split_windows(tokens, chosen)


def join_windows(local: Tensor, windows: int) -> Tensor:
    """Back to `(B, 1 + W * K, D)`; the class token is the mean of its copies."""
    local = local.unflatten(0, (-1, windows))
    return torch.cat([local[:, :, 0].mean(1, keepdim=True), local[:, :, 1:].flatten(1, 2)], 1)


def through(
    layers: Iterable[Callable[[Tensor], Tensor]], tokens: Tensor, *, late: bool = False
) -> Tensor:
    """Tokens `(B, 1 + P, D)`, the class token first, through the layers of an encoder.

    Args:
        layers: Of tokens; at least one.
        tokens: Their input.
        late: Whether the class token joins in the last layer only. Then it cannot gather in each
            layer a part of what it needs: the patches must carry it to the end.
    """
    *early, last = layers
    first, rest = tokens[:, : int(late)], tokens[:, int(late) :]
    for layer in early:
        rest = layer(rest)
    return last(torch.cat([first, rest], 1))


def smooth_max(scores: Tensor, sharpness: float = 4.0) -> Tensor:
    """`(B, P, K)` scores of patches to `(B, K)`: log-mean-exp, between mean and maximum.

    Source: Pinheiro and Collobert (2015), equation of the aggregation layer.
    """
    shift = math.log(scores.shape[1])
    return (torch.logsumexp(sharpness * scores, 1) - shift) / sharpness
