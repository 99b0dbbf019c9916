"""ITACLIP (Aydın et al. 2025, CVPR Workshops), without its texts by a language model.

Architecture: in the last layer, attention is the mean of its own and of that of middle layers, each
SCLIP's (queries to queries plus keys to keys, rows sum to 2); the residual connection stays, the
feed-forward network goes. Images: scores of the image, of the image in grey and blurred, and of the
image flipped are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ovsslib.lookup import Share
from ovsslib.peers.dense import DenseClip, DenseConfig, builder
from ovsslib.peers.layers import Layers, enter_with_attention, middle
from ovsslib.peers.sclip import correlative

if TYPE_CHECKING:
    from torch import Tensor

LAYERS = (7, 8, 10)
"""The authors' middle layers of ViT-B/16."""

BLUR, BLUR_SIGMA = 11, 5.0
"""The authors' Gaussian: side of the kernel and standard deviation in pixels."""


@dataclass(frozen=True)
class ItaClipConfig(DenseConfig):
    """Settings of ITACLIP, besides those of every dense method.

    Attributes:
        layers: Middle layers whose attention is used, the first is 1; None for the authors' 7, 8
            and 10 of 12, in other encoders those at the same share of the depth (of 24 layers the
            14th, 16th and 20th).
        filtered: Whether the image is looked at in grey and blurred, too.
        flipped: Whether it is looked at upside down and left to right, too.
        upright: Weight of the scores without a flip. The authors have 0.75, for Pascal VOC 0.7.
    """

    layers: Layers | None = None
    filtered: bool = True
    flipped: bool = True
    upright: Share = 0.75


class ItaClip(DenseClip):
    """ITACLIP with one CLIP."""

    name = "itaclip"
    settings = ItaClipConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S), seen as they are."""
        tower = self.matcher
        chosen = middle(self.config.layers, LAYERS, tower.layers)
        tokens, early = enter_with_attention(tower, pixels, chosen, correlative)
        last = tower.parts.blocks[-1]
        q, k, v = last.qkv(last.norm(tokens))
        read = tokens + last.out((early + correlative(q, k)) / 2 @ v)
        return tower.parts.project(read)[:, 1:]

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, h, w) of images (B, 3, S, S), see `DenseClip.planes`."""
        config = self.config
        looks = [pixels, grey(pixels), blurred(pixels)] if config.filtered else [pixels]
        upright = _means([self.compare(self.features(look), texts) for look in looks])
        if not config.flipped:
            return upright
        flipped = []
        for axis in (-2, -1):
            found = self.compare(self.features(pixels.flip(axis)), texts)
            flipped.append([each.flip(axis) for each in found])
        return [
            config.upright * one + (1 - config.upright) * other
            for one, other in zip(upright, _means(flipped), strict=True)
        ]


def _means(looks: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """For each image the mean of what several looks at it gave."""
    return [torch.stack(each).mean(0) for each in zip(*looks, strict=True)]


def grey(pixels: Tensor) -> Tensor:
    """Images (B, 3, S, S) in grey. The authors do so after colours are normalised."""
    from torchvision.transforms.v2.functional import rgb_to_grayscale

    found: Tensor = rgb_to_grayscale(pixels, num_output_channels=3)
    return found


def blurred(pixels: Tensor) -> Tensor:
    """Images (B, 3, S, S) after a Gaussian; beyond their edges they are mirrored."""
    from torchvision.transforms.v2.functional import gaussian_blur

    found: Tensor = gaussian_blur(pixels, [BLUR, BLUR], [BLUR_SIGMA, BLUR_SIGMA])
    return found


build = builder(ItaClip)
