"""Pixel-adaptive mask refinement (PAMR; Araslanov and Roth, CVPR 2020).

Every pixel's scores become a mean of its neighbours' scores, weighted by how alike the colours
are, several times. The neighbours are the eight on the square around the pixel at each distance
(dilation); a neighbour outside the image is the nearest pixel inside.

For pixel i with neighbours j, channel c and s_c(i), the standard deviation of c over the
neighbourhood of i:

    k_ij = - mean over c of |x_c(i) - x_c(j)| / (0.1 s_c(i) + 1e-8)
    a_ij = exp(k_ij) / sum over all neighbours j' of exp(k_ij')
    m(i) <- sum over j of a_ij m(j)

The standard deviation divides by n - 1 and counts the pixel itself once for each dilation, as the
authors' implementation does (the paper leaves both open). The weights of a pixel add up to 1, so
planes that add up to 1 still do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from torch import Tensor

DILATIONS = (8, 16)
"""Distances of the neighbours in pixels, as NACLIP sets them."""
TCL_DILATIONS = (1, 2, 4, 8, 12, 24)
"""The same as TCL sets them, for masks of a quarter of the image's side."""

_SHARPNESS = 0.1
_SMALL = 1e-8


def pamr(
    planes: Tensor,
    image: Tensor,
    *,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
) -> Tensor:
    """Let pixels of like colour agree.

    Args:
        planes: (K, H, W) scores of any range; not changed.
        image: (3, H, W), in 0 to 1. (The scale does not matter but for colours that are constant
            up to about 1e-7.)
        iterations: How often the means are taken; 0 gives the planes back.
        dilations: Distances of the neighbours in pixels, at least one.

    Returns:
        (K, H, W) of the planes' type, each within the range that its plane had.

    Raises:
        OvssError: The shapes differ, or a number is out of range.

    Example:
        >>> step = torch.tensor([0.0, 0, 0, 1, 1, 1]).expand(1, 6, 6)
        >>> noisy = step + torch.tensor([[0.0, 0.2], [0.2, 0.0]]).tile(3, 3)
        >>> smooth = pamr(noisy, step.expand(3, 6, 6), dilations=(1,))
        >>> [round(value, 1) for value in smooth[0, 0].tolist()]
        [0.1, 0.1, 0.1, 1.1, 1.1, 1.1]
    """
    if planes.dim() != 3 or image.shape != (3, *planes.shape[1:]):
        raise OvssError(
            f"PAMR wants planes (K, H, W) and an image (3, H, W), not {tuple(planes.shape)} "
            f"and {tuple(image.shape)}"
        )
    if iterations < 0 or not dilations or min(dilations) < 1:
        raise OvssError(
            f"PAMR wants iterations of 0 or more and dilations of 1 or more, not {iterations} "
            f"and {tuple(dilations)}"
        )
    if not len(planes) or not iterations:
        return planes.clone()
    weights = affinity(image.to(planes), dilations)
    refined = planes
    for _ in range(iterations):
        mean = torch.zeros_like(refined)
        for weight, other in zip(weights, _neighbours(refined, dilations), strict=True):
            mean.addcmul_(weight, other)
        refined = mean
    return refined


def affinity(image: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """The weights of each pixel's neighbours.

    Args:
        image: (3, H, W), or of any number of channels.
        dilations: D distances of the neighbours in pixels.

    Returns:
        (8 D, H, W): for each dilation the neighbours by row, then by column. They add up to 1
        over the first axis.
    """
    # Two passes over views, so that no (9 D, 3, H, W) block is in memory.
    mean = _sum_of(_neighbourhood(image, dilations)) / (9 * len(dilations))
    squares = _sum_of((other - mean).square() for other in _neighbourhood(image, dilations))
    spread = (squares / (9 * len(dilations) - 1)).sqrt()
    scale = _SHARPNESS * spread + _SMALL
    likeness = [-((image - other).abs() / scale).mean(0) for other in _neighbours(image, dilations)]
    return F.softmax(torch.stack(likeness), dim=0)


def _sum_of(parts: Iterator[Tensor]) -> Tensor:
    """The sum of tensors of one shape, one at a time."""
    total = next(parts).clone()
    for part in parts:
        total += part
    return total


def _neighbourhood(planes: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """The neighbours, and the pixel itself once for each dilation."""
    yield from _neighbours(planes, dilations)
    for _ in dilations:
        yield planes


def _neighbours(planes: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Views (C, H, W) of planes (C, H, W): at each pixel the value of one of its neighbours."""
    height, width = planes.shape[1:]
    edge = max(dilations)
    padded = F.pad(planes, [edge] * 4, mode="replicate")
    for dilation in dilations:
        for down in (-dilation, 0, dilation):
            for right in (-dilation, 0, dilation):
                if down or right:
                    top, left = edge + down, edge + right
                    yield padded[:, top : top + height, left : left + width]
