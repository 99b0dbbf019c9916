"""Thresholded maps to planes in PyTorch: upsampling, background, blur and normalisation at once.

Upsampling and blurring a class plane is one pair of small matrices, (H, h) and (w, W): no plane is
blurred at full size but that of the background. Equals the same steps of `ovsslib.pnp.refine` but
for rounding, on any device, and never waits for one.

Letters: B maps of one size, K classes, N planes (K, or 1 + K with the background first), h x w
patches, H x W pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.resample import line_filter, line_weights


def planes_of(
    maps: Tensor, size: tuple[int, int], blur: float, config: PnPConfig, *, background: bool
) -> Tensor:
    """Planes of thresholded maps.

    Args:
        maps: (B, K, h, w) float32, not negative, K at least 1; not changed.
        size: H and W.
        blur: Standard deviation over the longer side, from 0.
        config: How planes are upsampled and normalised.
        background: Whether there is a plane in front that is 1 where all class planes are 0.

    Returns:
        (B, N, H, W) float32.

    Example:
        >>> half = torch.tensor([[[[0.0, 2.0]]]])
        >>> planes_of(half, (1, 2), 0.0, PnPConfig(), background=True).tolist()
        [[[[1.0, 0.0]], [[0.0, 1.0]]]]
    """
    device, aligned = maps.device, config.align_corners
    sides, sigma = list(zip(maps.shape[2:], size, strict=True)), blur * max(size)
    flat = maps.flatten(2)
    ends = torch.stack([flat.amin(2), flat.amax(2)])
    stretched = bool(blur) or config.normalise
    if stretched:
        # Classes of which only one and the same patch is left tie; rounding must not decide.
        maps = maps / torch.where(ends[1] > 0, ends[1], 1)[..., None, None]
    planes = _spread(maps, *(_weights(*side, sigma, aligned, device) for side in sides))
    if background:
        # A pixel is background where no patch with salience contributes to it.
        salient = (maps > 0).any(1, keepdim=True).float()
        reach = [(_weights(*side, 0, aligned, device) > 0).float() for side in sides]
        empty = (_spread(salient, *reach) == 0).float()
        ends = torch.cat([torch.stack([empty.amin((2, 3)), empty.amax((2, 3))]), ends], dim=2)
        if blur:
            empty = _spread(empty, *(_smoothing(length, sigma, device) for length in size))
        planes = torch.cat([empty, planes], dim=1)
    return _normalise(planes, ends, config.constant_planes) if stretched else planes


def _normalise(planes: Tensor, ends: Tensor, constant: str) -> Tensor:
    """Min-max of planes (B, N, H, W), given least and largest value before the blur (2, B, N)."""
    flat = planes.flatten(2)
    low, high = flat.amin(2), flat.amax(2)
    even = ends[0] == ends[1]
    # Divided, so that each plane's peak is exactly 1 and peaks in one place tie.
    planes.sub_(low[..., None, None]).div_(torch.where(even, 1, high - low)[..., None, None])
    # The blur's rounding must not be stretched into a pattern. Elsewhere than on a CPU, to ask
    # takes longer than to do it.
    if planes.device.type != "cpu" or even.any():
        value = ends[0].clamp(0, 1) if constant == "keep" else torch.full_like(low, torch.nan)
        planes = torch.where(even[..., None, None], value[..., None, None], planes)
    return planes


def _spread(maps: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Maps (B, K, h, w) to (B, K, H, W) by matrices (H, h) and (W, w)."""
    return down @ (maps @ across.T)


@lru_cache(maxsize=64)
def _weights(
    count: int, size: int, sigma: float, align_corners: bool, device: torch.device
) -> Tensor:
    """Upsampling along an axis, blurred where sigma is not 0: (size, count)."""
    plain = line_weights(count, size, align_corners)
    if sigma:
        plain = (line_filter(size, sigma) @ plain).astype(np.float32)
    return torch.from_numpy(plain).to(device)


@lru_cache(maxsize=16)
def _smoothing(size: int, sigma: float, device: torch.device) -> Tensor:
    """The blur along an axis: (size, size)."""
    return torch.from_numpy(line_filter(size, sigma).astype(np.float32)).to(device)
