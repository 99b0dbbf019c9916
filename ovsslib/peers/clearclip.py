"""ClearCLIP (Lan et al. 2024, ECCV): the last layer without its residual and its feed-forward part.

Queries attend to queries; the residual connection, which carries what the whole image is about, and
the feed-forward network are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovsslib.peers.dense import DenseClip, builder
from ovsslib.peers.tower import alike

if TYPE_CHECKING:
    from torch import Tensor


class ClearClip(DenseClip):
    """ClearCLIP with one CLIP."""

    name = "clearclip"

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        tower = self.matcher
        last, tokens = tower.parts.blocks[-1], tower.enter(pixels)
        q, _, v = last.qkv(last.norm(tokens))
        return tower.parts.project(last.out(alike(q, q) @ v))[:, 1:]


build = builder(ClearClip)
