"""GEM (Bousselham et al. 2024, CVPR): self-self attention in a second path.

As in CLIP Surgery, a path goes beside the last layers, with the residual connection and without
feed-forward networks. In it queries attend to queries, keys to keys and values to values, all
normalised and moved towards their likes first; the mean of the three attentions reads the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F

from ovsslib.lookup import Count, Natural
from ovsslib.peers.dense import DenseClip, DenseConfig, builder
from ovsslib.peers.layers import second_path
from ovsslib.peers.tower import alike

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GemConfig(DenseConfig):
    """Settings of GEM, besides those of every dense method.

    Attributes:
        layers: How many of the last layers have the second path; None for the authors' 6 (a
            `depth` of 7 in their package), or half of the layers where there are fewer than 12.
        iterations: How often queries, keys and values move towards their likes.
    """

    layers: Count | None = None
    iterations: Natural = 1


class Gem(DenseClip):
    """GEM with one CLIP.

    It equals the authors' package `gem_torch` at the size of images that a model was trained with.
    At others, the package resizes positions with another bicubic kernel than `Tower.embed`.
    """

    name = "gem"
    settings = GemConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        tower = self.matcher
        path = second_path(
            tower,
            pixels,
            self.config.layers,
            lambda normal, qkv: self_self(normal, qkv, self.config.iterations),
        )
        return tower.parts.project(path)[:, 1:]


def self_self(normal: Tensor, qkv: Tensor, iterations: int = 1) -> Tensor:
    """What heads read from values by the mean of three attentions of a kind to itself.

    For z in queries, keys, values: z <- z / |z|, then `iterations` times
    z <- softmax(t z z') z and z <- z / |z|; the attention is softmax(t z z'). The factor t is the
    mean length of the layer's normalised tokens, divided by sqrt(d).

    Args:
        normal: Normalised tokens (B, N, D), the layer's input.
        qkv: Queries, keys and values (3, B, A, N, d).
        iterations: 0 or more.

    Returns:
        (B, A, N, d).
    """
    factor = normal.norm(dim=-1).mean(-1)[:, None, None, None] * qkv.shape[-1] ** -0.5
    kinds = F.normalize(qkv, dim=-1)
    for _ in range(iterations):
        kinds = F.normalize(alike(kinds, kinds, factor) @ kinds, dim=-1)
    return alike(kinds, kinds, factor).mean(0) @ qkv[2]


build = builder(Gem)
