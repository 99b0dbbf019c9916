"""CLIP-DINOiser (Wysoczanska et al. 2024, ECCV), the form without training.

MaskCLIP's features are pooled over patches by the cosines of DINO's values, those below gamma left
out: F_p = sum_q C_pq F_q / sum_q C_pq. The published system learns to predict these cosines, and
an objectness map for the background, from CLIP; neither is part of this. MaskCLIP is as in the
authors' code, with the residual connection and the feed-forward network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ovsslib.lookup import Share
from ovsslib.peers.dino import on_grid
from ovsslib.peers.dino_clip import DinoClip, DinoConfig, dino_builder
from ovsslib.peers.maskclip import MaskClip, MaskClipConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClipDinoiserConfig(MaskClipConfig, DinoConfig):
    """Settings of CLIP-DINOiser, besides those of every method with a DINO.

    Attributes:
        residual: As in `ovsslib.peers.maskclip.MaskClipConfig`.
        gamma: Least cosine of two patches that are pooled together.
    """

    residual: bool = True
    gamma: Share = 0.2


class ClipDinoiser(DinoClip):
    """CLIP-DINOiser with one CLIP and one DINO."""

    name = "clip-dinoiser"
    settings = ClipDinoiserConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S), on DINO's grid."""
        own = MaskClip(self.matcher, self.config).features(pixels)
        own = on_grid(own, self.dino.grid(pixels.shape[-1]))
        values = self.dino_features(pixels).values.transpose(1, 2).flatten(2)
        return pooled(own, values, self.config.gamma)


def pooled(features: Tensor, values: Tensor, gamma: float) -> Tensor:
    """Features that are averaged over patches that are alike; a patch always counts itself.

    Args:
        features: (B, P, E).
        values: (B, P, D) of DINO, of any length.
        gamma: See `ClipDinoiserConfig`.

    Returns:
        (B, P, E).
    """
    units = F.normalize(values, dim=-1)
    cosines = units @ units.mT
    itself = torch.eye(cosines.shape[-1], dtype=torch.bool, device=cosines.device)
    cosines = cosines.masked_fill((cosines < gamma) & ~itself, 0).to(features)
    return cosines @ features / cosines.sum(-1, keepdim=True)


build = dino_builder(ClipDinoiser)
