"""SCLIP (Wang et al. 2024, ECCV): correlative self-attention in CLIP's last layer.

Queries attend to queries and keys to keys, and the two attentions are summed: rows sum to 2. The
residual connection and the feed-forward network stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovsslib.peers.dense import DenseClip, builder
from ovsslib.peers.tower import alike

if TYPE_CHECKING:
    from torch import Tensor


class SClip(DenseClip):
    """SCLIP with one CLIP."""

    name = "sclip"

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        tower = self.matcher
        last, tokens = tower.parts.blocks[-1], tower.enter(pixels)
        q, k, v = last.qkv(last.norm(tokens))
        read = tokens + last.out(correlative(q, k) @ v)
        return tower.parts.project(read + last.feed(read))[:, 1:]


def correlative(q: Tensor, k: Tensor) -> Tensor:
    """Attention (..., N, N) of queries and keys (..., N, d) to their own kind; rows sum to 2."""
    return alike(q, q) + alike(k, k)


build = builder(SClip)
