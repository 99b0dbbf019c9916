"""Candidates for layer, head, threshold and blur, judged from stored maps.

Masks for all thresholds and blurs of a layer and head are made together, see `ovsslib.pnp.planes`.

Letters: B images, C candidates, K classes, N planes (K, or 1 + K with the background first), h x w
patches, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.planes import planes_of
from ovsslib.pnp.threshold import needs_background, threshold


@dataclass(frozen=True)
class Candidate:
    """One point of the search.

    Attributes:
        layer: From 1.
        head: From 1; None takes the mean over heads.
        threshold: See `ovsslib.pnp.config.PnPConfig`.
        blur: The same.
    """

    layer: int
    head: int | None
    threshold: float
    blur: float

    def config(self, base: PnPConfig) -> PnPConfig:
        """The settings with which the pipeline makes this candidate's masks.

        Example:
            >>> Candidate(2, None, 0.1, 0.05).config(PnPConfig()).rounds
            1
        """
        return base.replace(**vars(self), rounds=1, crf=False, pamr=0)


def masks_of(
    maps: np.ndarray,
    candidates: Sequence[Candidate],
    size: int,
    background: str,
    config: PnPConfig,
    *,
    hard: bool = True,
) -> Tensor:
    """What refinement without PAMR and CRF makes of maps, with many thresholds and blurs.

    Equals `ovsslib.pnp.refine.refine_maps` for an image of S x S pixels, but for rounding.

    Args:
        maps: (K, h, w) of the layer and head that the candidates share; not negative.
        candidates: C of them; only their threshold and blur are read.
        size: S.
        background: When a background plane competes; see `PnPConfig`.
        config: How planes are upsampled and normalised.
        hard: Whether each pixel goes to its strongest plane; else the classes' planes are given,
            in 0 to 1 where they are normalised.

    Returns:
        (C, K, S, S) float32; hard masks hold 0 and 1.

    Example:
        >>> half = Candidate(1, 1, 0.5, 0.0)
        >>> masks_of(np.float32([[[0, 1]]]), [half], 2, "always", PnPConfig())[0, 0].tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """
    if not len(maps) or not candidates:
        return torch.zeros(len(candidates), len(maps), size, size)
    other = needs_background(len(maps), background)
    raw = maps.astype(np.float32)
    levels = dict.fromkeys(candidate.threshold for candidate in candidates)
    thresholded = {level: torch.from_numpy(threshold(raw, level)) for level in levels}
    by_blur: dict[float, dict[float, list[int]]] = {}  # blur -> threshold -> rows of candidates
    for row, candidate in enumerate(candidates):
        by_blur.setdefault(candidate.blur, {}).setdefault(candidate.threshold, []).append(row)
    out = torch.empty(len(candidates), len(maps), size, size)
    for blur, rows in by_blur.items():
        stacked = torch.stack([thresholded[level] for level in rows])
        planes = planes_of(stacked, (size, size), blur, config, background=other)
        masks = _decide(planes, other) if hard else planes[:, int(other) :]
        for mask, same in zip(masks, rows.values(), strict=True):
            out[same] = mask
    return out


def _decide(planes: Tensor, other: bool) -> Tensor:
    """Masks (C, K, S, S) of the strongest of planes (C, N, S, S); none where all are 0."""
    peak, strongest = planes.max(1, keepdim=True)
    strongest[peak == 0] = -1
    numbers = torch.arange(int(other), planes.shape[1])[:, None, None]
    return (strongest == numbers).float()
