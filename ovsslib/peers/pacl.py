"""PACL (Mukhoti et al. 2023, CVPR): an embedder on CLIP's patches, learnt by what a text picks.

Both encoders stay frozen. Tokens x_p that leave the last layer go through a linear map plus a
two-layer network, e(x_p). A text t weights the patches by a_p = softmax_p(tau cos(e(x_p), t)); the
weighted sum is compared with the text, and trained by CLIP's contrast. A patch's score is its
cosine.

Whether the published softmax has a scale could not be checked here; without one (tau = 1) weights
are nearly flat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovsslib.peers.dense import DenseClip, PhotoConfig
from ovsslib.peers.head import HeadTower
from ovsslib.peers.method import builder

if TYPE_CHECKING:
    import open_clip


class PaclHead(nn.Module):
    """The embedder of patches.

    Args:
        clip: Of open_clip.
    """

    def __init__(self, clip: open_clip.CLIP) -> None:
        super().__init__()
        width, shared = clip.visual.proj.shape
        self.linear = nn.Linear(width, shared)
        self.inner = nn.Linear(width, shared)
        self.outer = nn.Linear(shared, shared)
        nn.init.zeros_(self.outer.weight)  # it starts as CLIP's own projection
        nn.init.zeros_(self.outer.bias)
        with torch.no_grad():
            self.linear.weight.copy_(clip.visual.proj.detach().T)
            self.linear.bias.zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Unit features (B, P, E) of the patches of tokens (B, 1 + P, D), normalised by CLIP."""
        patches = tokens[:, 1:]
        out = self.linear(patches) + self.outer(F.relu(self.inner(patches)))
        return F.normalize(out.float(), dim=-1)


def compatibility(patches: Tensor, texts: Tensor, tau: float) -> Tensor:
    """Cosines (B, T) of what each text picks of each image with the text.

    Args:
        patches: (B, P, E) unit vectors.
        texts: (T, E) the same.
        tau: Scale of the softmax over patches.
    """
    cosines = torch.einsum("bpe,te->bpt", patches, texts)
    picked = torch.einsum("bpt,bpe->bte", (tau * cosines).softmax(1), patches)
    return (F.normalize(picked, dim=-1) * texts).sum(-1)


class PaclTower(HeadTower):
    """A CLIP with PACL's embedder."""

    system, head_class = "pacl", PaclHead


class Pacl(DenseClip):
    """PACL; planes are cosines."""

    name = "pacl"
    settings = PhotoConfig
    matcher: Any

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        found: Tensor = self.matcher.head(leaving(self.matcher, pixels).float())
        return found


def leaving(tower: Any, pixels: Tensor) -> Tensor:
    """Tokens (B, 1 + P, D) that leave CLIP's last layer, normalised, before the projection.

    Args:
        tower: A `Tower` of open_clip.
        pixels: (B, 3, S, S).
    """
    tokens = tower.parts.blocks[-1].whole(tower.enter(pixels))
    found: Tensor = tower.model.visual.ln_post(tokens)
    return found


build = builder(Pacl, PaclTower)
