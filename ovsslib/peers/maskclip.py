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

    from ovsslib.peers.parts import Block


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
        parts = self.matcher.parts
        read = value_path(
            parts.blocks[-1], self.matcher.enter(pixels), residual=self.config.residual
        )
        return parts.project(read)[:, 1:]


def value_path(last: Block, tokens: Tensor, *, residual: bool) -> Tensor:
    """What the last layer makes of tokens (B, N, D) that see nothing but themselves.

    Args:
        last: The layer.
        tokens: That enter it.
        residual: See `MaskClipConfig`.
    """
    read = last.out(last.qkv(last.norm(tokens))[2])
    if not residual:
        return read
    read = tokens + read
    return read + last.feed(read)


build = builder(MaskClip)
