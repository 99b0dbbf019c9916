"""MaskCLIP+ (Zhou et al. 2022, ECCV): a convolutional network learns MaskCLIP's labels.

The network's dense features f are compared with the frozen text features of the names, t, without
being normalised: the score is f . t. MaskCLIP's labels of patches become those of pixels, and
errors that vary from image to image average out. At micro size the network is five convolutions
deep, with growing dilations in place of the pyramid of DeepLab v2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ovsslib.peers.dense import DenseClip, PhotoConfig
from ovsslib.peers.head import HeadTower
from ovsslib.peers.method import builder

if TYPE_CHECKING:
    import open_clip

DILATIONS = (1, 2, 4, 8)
"""Of the convolutions after the one that halves the grid a second time."""


class MaskClipPlusHead(nn.Module):
    """The network: images to dense features of a quarter of their side.

    Args:
        clip: Of open_clip; only the width of its features is used.
        width: Channels.
    """

    def __init__(self, clip: open_clip.CLIP, width: int = 96) -> None:
        super().__init__()
        widths = (3, width // 2, *(width for _ in DILATIONS))
        strides, distances = (2, 2, 1, 1, 1), (1, *DILATIONS)
        layers: list[nn.Module] = []
        for (before, after), stride, distance in zip(
            pairwise(widths), strides, distances, strict=True
        ):
            size: dict[str, Any] = {"stride": stride, "padding": distance, "dilation": distance}
            layers += [nn.Conv2d(before, after, 3, bias=False, **size), nn.BatchNorm2d(after)]
            layers += [nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(width, clip.visual.proj.shape[1], 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features (B, E, S / 4, S / 4) of images (B, 3, S, S)."""
        found: Tensor = self.last(self.layers(pixels))
        return found


class MaskClipPlusTower(HeadTower):
    """A CLIP, of which only the texts are used, and the network."""

    system, head_class = "maskclip-plus", MaskClipPlusHead


class MaskClipPlus(DenseClip):
    """MaskCLIP+; planes are products over the CLIP's scale, so that they are like cosines."""

    name = "maskclip-plus"
    settings = PhotoConfig
    matcher: Any

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, S / 4, S / 4) of images."""
        dense = self.matcher.head(pixels.float()) / self.matcher.scale
        return [
            torch.einsum("ke,ehw->khw", named, own) for own, named in zip(dense, texts, strict=True)
        ]


build = builder(MaskClipPlus, MaskClipPlusTower)
