"""Gaussian kernels between all pixels of an image, applied by way of the lattice.

Letters: N = H * W pixels, C channels, d features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ovsslib.densecrf.lattice import build
from ovsslib.densecrf.rows import Rows, product

CHANNELS = 64
"""Channels that are filtered at once: bounds the memory for values at the vertices."""


GROUP = 4
"""Points that the authors' code works on at a time."""


@dataclass(frozen=True)
class Kernel:
    r"""A kernel matrix (N, N), normalised from both sides.

    With splat S, blurs B_0 .. B_d and \alpha = 1 / (1 + 2^{-d}) the lattice's matrix is
    \tilde K = \alpha S^T B_d .. B_0 S. The normalised one is
    K_{ij} = \tilde K_{ij} / \sqrt{z_i z_j} with z_i = \sum_j \tilde K_{ij}: the default of the code
    of Kraehenbuehl and Koltun 2011.

    Attributes:
        pixels: N.
        vertices: Of the lattice.
        splat: S, its columns divided by \sqrt{z}.
        blur: B_0 .. B_d.
        slice: \alpha S^T, its rows divided by \sqrt{z}.
    """

    pixels: int
    vertices: int
    splat: Rows
    blur: tuple[Rows, ...]
    slice: Rows

    @property
    def bytes(self) -> int:
        """Memory that it takes; what several of its matrices share counts once."""
        parts = {id(part): part for rows in (self.splat, *self.blur, self.slice) for part in rows}
        return sum(part.numel() * part.element_size() for part in parts.values())

    def apply(self, values: Tensor, *, reverse: bool = False, bags: bool = True) -> Tensor:
        """The matrix times values (N, C); `reverse`: transposed, which blurs the other way round.

        Args:
            values: Any floating type.
            reverse: Whether the matrix is transposed.
            bags: See `ovsslib.densecrf.rows.product`.

        Returns:
            (N, C) of the same type.
        """
        axes = self.blur[::-1] if reverse else self.blur
        parts = []
        for part in values.split(CHANNELS, 1):
            inside = product(self.splat, part.contiguous(), bags=bags)
            for axis in axes:
                inside = product(axis, inside, bags=bags)
            parts.append(product(self.slice, inside, bags=bags))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def kernel(features: Tensor, sizes: Sequence[int]) -> Kernel:
    """A Gaussian kernel of standard deviation 1 between points.

    The authors' code works on four points at a time and fills the last group with points at the
    origin. They have no values, but the vertices around them exist, and blurring leads through
    these; so they are made here too.

    Args:
        features: (d, N) float32, image after image.
        sizes: How many of the points are of each image; images do not see each other.

    Raises:
        ValueError: As `ovsslib.densecrf.lattice.build`.
    """
    d, count = features.shape
    added = [-size % GROUP for size in sizes]
    owner = None
    if len(sizes) > 1:
        numbers = torch.arange(len(sizes)).repeat(2)
        owner = numbers.repeat_interleave(torch.tensor([*sizes, *added])).to(features.device)
    padded = torch.nn.functional.pad(features, (0, sum(added)))
    lattice = build(padded, owner, len(sizes))
    size = d + 1
    splat = lattice.splat
    if sum(added):
        # The points that were added give nothing and get nothing.
        splat = splat._replace(
            columns=splat.columns.clamp(max=count - 1),
            weights=splat.weights * (splat.columns < count),
        )
    offsets, columns, weights = lattice.slice
    alpha = 1 / (1 + 2.0**-d)
    back = Rows(offsets[: count + 1], columns[: count * size], weights[: count * size] * alpha)
    plain = Kernel(count, lattice.vertices, splat, lattice.blur, back)
    total = plain.apply(features.new_ones(count, 1))[:, 0]
    factor = (total + 1e-20).rsqrt()
    return replace(plain, splat=splat.scaled(columns=factor), slice=back.scaled(rows=factor))


def gaussian(sizes: Sequence[tuple[int, int]], sxy: float, device: Any = "cpu") -> Kernel:
    """The smoothness kernel: positions alone.

    Args:
        sizes: H and W of each image.
        sxy: Standard deviation in pixels.
        device: Where it lies.

    Raises:
        ValueError: As `ovsslib.densecrf.lattice.build`.
    """
    places = [_positions(height, width, device) for height, width in sizes]
    return kernel(torch.cat(places, 1) / sxy, [height * width for height, width in sizes])


def bilateral(images: Sequence[Tensor], sxy: float, srgb: float) -> Kernel:
    """The appearance kernel: positions and colours.

    Args:
        images: Each (H, W, 3), 0 to 255.
        sxy: Standard deviation in pixels.
        srgb: Standard deviation in grey levels.

    Raises:
        ValueError: As `ovsslib.densecrf.lattice.build`.
    """
    parts = []
    for image in images:
        colours = image.reshape(-1, 3).t().float()
        height, width = image.shape[:2]
        places = _positions(height, width, image.device)
        parts.append(torch.cat([places / sxy, colours / srgb]))
    return kernel(torch.cat(parts, 1), [part.shape[1] for part in parts])


def _positions(height: int, width: int, device: Any) -> Tensor:
    """Columns and rows of the pixels, (2, N) float32, row by row."""
    y = torch.arange(height, dtype=torch.float32, device=device)
    x = torch.arange(width, dtype=torch.float32, device=device)
    return torch.stack([x.repeat(height), y.repeat_interleave(width)])
