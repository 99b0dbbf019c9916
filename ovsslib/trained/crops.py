"""What a frozen CLIP says of an image and of the cells of a grid on it.

Source: Chen et al. 2023 (ICCV, ZeroSeg), section 3.2: the views that its student learns from.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ovsslib.miniature.training.blip import normalise
from ovsslib.trained.frozen import Frozen


def cells(pictures: np.ndarray, grid: int) -> np.ndarray:
    """Images (B, S, S, 3) to the cells of a grid on them, row by row: (B, grid * grid, s, s, 3).

    Sides s = S / grid that are no whole numbers are rounded down: the last pixels are left out.
    """
    side = pictures.shape[1] // grid
    rows = [
        pictures[:, y * side : (y + 1) * side, x * side : (x + 1) * side]
        for y in range(grid)
        for x in range(grid)
    ]
    return np.stack(rows, 1)


@torch.no_grad()
def views(frozen: Frozen, grid: int, pictures: np.ndarray) -> Tensor:
    """Unit features (B, V, E) of images and of their cells.

    Args:
        frozen: The CLIP.
        grid: Cells along a side; 1 for the whole image alone.
        pictures: (B, S, S, 3) uint8.

    Returns:
        The whole image first, then its cells.
    """
    found = [frozen.images(normalise(pictures))[:, None]]
    if grid > 1:
        parts = cells(pictures, grid)
        side = frozen.tower.own_side
        pixels = normalise(parts.reshape(-1, *parts.shape[2:]))
        large = interpolate(pixels, (side, side), mode="bicubic", align_corners=False)
        found.append(frozen.images(large).unflatten(0, parts.shape[:2]))
    return torch.cat(found, 1)
