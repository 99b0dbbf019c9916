"""Candidates for layer, head, threshold and blur, judged from stored maps.

Upsampling and blurring a class plane is one pair of small matrices, (S, h) and (w, S): no plane is
blurred at full size but that of the background. Masks for all thresholds and blurs of a layer and
head are made together.

Letters: B images, C candidates, K classes, N planes (K, or 1 + K with the background first), h x w
patches, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.refine import needs_background, threshold
from ovsslib.pnp.resample import line_filter, line_weights


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
        planes = _planes(stacked, blur, size, other, config)
        masks = _decide(planes, other) if hard else planes[:, int(other) :]
        for mask, same in zip(masks, rows.values(), strict=True):
            out[same] = mask
    return out


def _planes(maps: Tensor, blur: float, size: int, other: bool, config: PnPConfig) -> Tensor:
    """Thresholded maps (C, K, h, w) to planes (C, N, S, S) of one blur."""
    aligned, sides = config.align_corners, maps.shape[2:]
    flat = maps.flatten(2)
    ends = torch.stack([flat.amin(2), flat.amax(2)])
    stretched = bool(blur) or config.normalise
    if stretched:
        # Classes of which only one and the same patch is left tie; rounding must not decide.
        maps = maps / torch.where(ends[1] > 0, ends[1], 1)[..., None, None]
    planes = _spread(maps, *(_weights(count, size, blur, aligned) for count in sides))
    if other:
        # A pixel is background where no patch with salience contributes to it.
        salient = (maps > 0).any(1, keepdim=True).float()
        reach = [(_weights(count, size, 0, aligned) > 0).float() for count in sides]
        empty = (_spread(salient, *reach) == 0).float()
        ends = torch.cat([torch.stack([empty.amin((2, 3)), empty.amax((2, 3))]), ends], dim=2)
        if blur:
            empty = _spread(empty, _smoothing(size, blur), _smoothing(size, blur))
        planes = torch.cat([empty, planes], dim=1)
    return _normalise(planes, ends, config.constant_planes) if stretched else planes


def _normalise(planes: Tensor, ends: Tensor, constant: str) -> Tensor:
    """Min-max of planes (C, N, S, S), given least and largest value before the blur (2, C, N)."""
    flat = planes.flatten(2)
    low, high = flat.amin(2), flat.amax(2)
    even = ends[0] == ends[1]
    # The blur's rounding must not be stretched into a pattern.
    scale = torch.where(even, 0, 1 / torch.where(even, 1, high - low))
    planes.sub_(low[..., None, None]).mul_(scale[..., None, None])
    if even.any():
        value = ends[0].clamp(0, 1) if constant == "keep" else torch.full_like(low, torch.nan)
        planes[even] = value[even][:, None, None]
    return planes


def _decide(planes: Tensor, other: bool) -> Tensor:
    """Masks (C, K, S, S) of the strongest of planes (C, N, S, S); none where all are 0."""
    peak, strongest = planes.max(1, keepdim=True)
    strongest[peak == 0] = -1
    numbers = torch.arange(int(other), planes.shape[1])[:, None, None]
    return (strongest == numbers).float()


def _spread(maps: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Maps (C, K, h, w) to (C, K, S, S) by matrices (S, h) and (S, w)."""
    return down @ (maps @ across.T)


@lru_cache(maxsize=64)
def _weights(count: int, size: int, blur: float, align_corners: bool) -> Tensor:
    """Upsampling along an axis, blurred where a blur is given: (S, count)."""
    plain = line_weights(count, size, align_corners)
    if not blur:
        return torch.from_numpy(plain)
    return torch.from_numpy((line_filter(size, blur * size) @ plain).astype(np.float32))


@lru_cache(maxsize=16)
def _smoothing(size: int, blur: float) -> Tensor:
    """The blur along an axis: (S, S)."""
    return torch.from_numpy(line_filter(size, blur * size).astype(np.float32))
