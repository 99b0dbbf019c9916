"""CLIP as it is: its patch tokens after the last layer, compared with names.

Nothing in CLIP's training makes them comparable; the row that every other method improves on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovsslib.peers.dense import DenseClip, builder

if TYPE_CHECKING:
    from torch import Tensor


class RawClip(DenseClip):
    """CLIP as it is, with one CLIP."""

    name = "raw-clip"

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        tower = self.matcher
        return tower.parts.project(tower.parts.blocks[-1].whole(tower.enter(pixels)))[:, 1:]


build = builder(RawClip)
