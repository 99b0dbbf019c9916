"""What a frozen CLIP says of an image and of the cells of a grid on it, remembered.

Source: Chen et al. 2023 (ICCV, ZeroSeg), section 3.2: the views that its student learns from.
"""

from __future__ import annotations

import hashlib

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


class Views:
    """Features of images and of their cells; each image is encoded once.

    Args:
        frozen: The CLIP.
        grids: Of the cells; `(3,)` for 3 x 3, none for the whole image alone.
    """

    def __init__(self, frozen: Frozen, grids: tuple[int, ...]) -> None:
        self.frozen, self.grids = frozen, grids
        self._known: dict[bytes, Tensor] = {}

    def __call__(self, pictures: np.ndarray) -> Tensor:
        """Unit features (B, V, E) of images (B, S, S, 3) uint8: the whole image, then cells."""
        keys = [hashlib.blake2b(one.tobytes(), digest_size=12).digest() for one in pictures]
        new = [index for index, key in enumerate(keys) if key not in self._known]
        if new:
            for index, views in zip(new, self._encode(pictures[new]), strict=True):
                self._known[keys[index]] = views
        return torch.stack([self._known[key] for key in keys]).float()

    @torch.no_grad()
    def _encode(self, pictures: np.ndarray) -> Tensor:
        """Features (B, V, E) float16 of images."""
        side = self.frozen.tower.own_side
        found = [self.frozen.images(normalise(pictures))[:, None]]
        for grid in self.grids:
            parts = cells(pictures, grid)
            pixels = normalise(parts.reshape(-1, *parts.shape[2:]))
            large = interpolate(pixels, (side, side), mode="bicubic", align_corners=False)
            found.append(self.frozen.images(large).unflatten(0, parts.shape[:2]))
        return torch.cat(found, 1).half()
