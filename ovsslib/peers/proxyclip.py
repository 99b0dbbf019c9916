"""ProxyCLIP (Lan et al. 2024, ECCV): DINO says which patches attend to each other.

In CLIP's last layer the attention of all heads is replaced by one that cosines S of DINO's patch
tokens give: S' = gamma (S - beta mean(S)), of which negative entries are left out of the softmax.
Values are brought to DINO's grid. The residual connection and the feed-forward network are left
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ovsslib.lookup import Amount, Positive
from ovsslib.peers.dino import on_grid
from ovsslib.peers.dino_clip import DinoClip, DinoConfig, dino_builder

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ProxyClipConfig(DinoConfig):
    """Settings of ProxyCLIP, besides those of every method with a DINO.

    Attributes:
        beta: How many times the mean cosine a patch must reach to be attended to.
        gamma: What the rest is multiplied with before the softmax.
    """

    beta: Amount = 1.2
    gamma: Positive = 3.0


class ProxyClip(DinoClip):
    """ProxyCLIP with one CLIP and one DINO."""

    name = "proxyclip"
    settings = ProxyClipConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S), on DINO's grid."""
        tower = self.matcher
        last, tokens = tower.parts.blocks[-1], tower.enter(pixels)
        values = last.qkv(last.norm(tokens))[2][:, :, 1:]
        units = F.normalize(self.dino_features(pixels).tokens, dim=-1)
        attention = proxy_attention(units @ units.mT, self.config.beta, self.config.gamma)
        values = on_grid(values, self.dino.grid(pixels.shape[-1]))
        return tower.parts.project(last.out(attention[:, None].to(values) @ values))


def proxy_attention(cosines: Tensor, beta: float, gamma: float) -> Tensor:
    """Attention of patches that are more alike than most.

    A patch always attends to itself. That changes nothing where the published formula is defined:
    it gives 0 / 0 for a patch in an image whose patches are all alike.

    Args:
        cosines: (B, P, P).
        beta: See `ProxyClipConfig`.
        gamma: The same.

    Returns:
        (B, P, P), rows sum to 1.
    """
    scores = gamma * (cosines - beta * cosines.mean((-2, -1), keepdim=True))
    itself = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    return scores.masked_fill((scores < 0) & ~itself, -torch.inf).softmax(-1)


build = dino_builder(ProxyClip)
