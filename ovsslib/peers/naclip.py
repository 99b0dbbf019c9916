"""NACLIP (Hajimiri et al. 2025, WACV): patches attend to like keys in their neighbourhood.

In the last layer keys attend to keys, and a Gaussian of the distance of two patches is added to the
products before the softmax. The residual connection and the feed-forward network are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ovsslib.lookup import Positive
from ovsslib.peers.dense import DenseClip, DenseConfig, builder

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NaClipConfig(DenseConfig):
    """Settings of NACLIP, besides those of every dense method.

    Attributes:
        sigma: Standard deviation of the Gaussian in patches.
    """

    sigma: Positive = 5.0


class NaClip(DenseClip):
    """NACLIP with one CLIP."""

    name = "naclip"
    settings = NaClipConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        tower = self.matcher
        last, tokens = tower.parts.blocks[-1], tower.enter(pixels)
        _, k, v = last.qkv(last.norm(tokens))
        near = neighbours(pixels.shape[-1] // tower.parts.patch, self.config.sigma).to(k)
        attention = (k @ k.mT * k.shape[-1] ** -0.5 + near).softmax(-1)
        return tower.parts.project(last.out(attention @ v))[:, 1:]


def neighbours(side: int, sigma: float) -> Tensor:
    """A Gaussian of the distance of each two patches, 1 for a patch and itself.

    Args:
        side: Patches in a row and in a column.
        sigma: In patches.

    Returns:
        (1 + P, 1 + P); 0 to and from the class token.

    Example:
        >>> (100 * neighbours(2, 1.0)[1]).int().tolist()
        [0, 100, 60, 60, 36]
    """
    line = torch.arange(side, dtype=torch.float32)
    places = torch.cartesian_prod(line, line)
    distance = (places[:, None] - places).square().sum(-1)
    return F.pad((-distance / (2 * sigma**2)).exp(), (1, 0, 1, 0))


build = builder(NaClip)
