"""MaskCLIP (Zhou et al. 2022, ECCV): the value path of CLIP's last layer, patch by patch.

In the last layer each patch keeps its own value, without the attention of the others; it goes
through the output projection, and as MaskCLIP's authors have it through the residual connection and
the feed-forward network, too. Both can be left out, as later work does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovsslib.peers.dense import DenseClip, DenseConfig, builder

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MaskClipConfig(DenseConfig):
    """Settings of MaskCLIP, besides those of every dense method.

    Attributes:
        residual: Whether the residual connection and the feed-forward network of the last layer
            are kept, as in the authors' code.
    """

    residual: bool = False


class MaskClip(DenseClip):
    """MaskCLIP with one CLIP."""

    name = "maskclip"
    settings = MaskClipConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        tower = self.matcher
        last, tokens = tower.parts.blocks[-1], tower.enter(pixels)
        read = last.out(last.qkv(last.norm(tokens))[2])
        if self.config.residual:
            read = tokens + read
            read = read + last.feed(read)
        return tower.parts.project(read)[:, 1:]


build = builder(MaskClip)
