"""After ViL-Seg (Liu et al. 2022, ECCV): clusters of patches, each compared with names as a whole.

A head on the image encoder of a CLIP says of each patch how much it belongs to each of C clusters.
The shares are brought to the image's size (bilinear); a pixel belongs to the cluster with the most
there, among those to which some patch belongs most. A cluster's features are the mean of its
patches' unit features, projected as the class token is, and a pixel has its cluster's cosines.

That the picture is split by such a head and each group compared with text is what the abstract
says. The rest is a reconstruction that could not be checked: the authors published no code, and
the paper's text could not be read here. Therefore the name begins with "after"; see
`ovsslib.trained.after_vil_seg` for the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovsslib.peers.dense import DenseClip, PhotoConfig
from ovsslib.peers.head import HeadTower
from ovsslib.peers.method import builder

if TYPE_CHECKING:
    import open_clip


class ClusterHead(nn.Module):
    """How patches share the clusters.

    Args:
        clip: Of open_clip; its sizes are used.
        clusters: C.
    """

    def __init__(self, clip: open_clip.CLIP, *, clusters: int = 25) -> None:
        super().__init__()
        vision: Any = clip.visual
        width = vision.conv1.out_channels
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, clusters)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Shares (B, P, C) float32, adding up to 1, of patches (B, P, D) as the encoder ends."""
        with torch.autocast(patches.device.type, enabled=False):
            found: Tensor = self.layers(patches.float()).softmax(-1)
        return found


class AfterVilSegTower(HeadTower):
    """A CLIP that was trained with the head; it lies in the same folder."""

    system, head_class = "after-vil-seg", ClusterHead


class AfterVilSeg(DenseClip):
    """After ViL-Seg; planes are cosines."""

    name = "after-vil-seg"
    settings = PhotoConfig
    matcher: Any

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, S, S) of images, see `DenseClip.planes`."""
        tower = self.matcher
        tokens = tower.parts.blocks[-1].whole(tower.enter(pixels))
        units = F.normalize(tower.parts.project(tokens)[:, 1:].float(), dim=-1)
        shares = tower.head(tokens[:, 1:])
        found = zip(units, shares, texts, strict=True)
        return [clusters(*one, pixels.shape[-1]) for one in found]


def clusters(units: Tensor, shares: Tensor, texts: Tensor, side: int) -> Tensor:
    """Cosines (K, S, S) of an image's pixels: those of their clusters.

    Args:
        units: (P, E) unit features of its patches.
        shares: (P, C) of the clusters in them.
        texts: (K, E) unit features of names.
        side: S in pixels.
    """
    own = F.one_hot(shares.argmax(-1), shares.shape[-1]).to(units)
    used = own.sum(0) > 0
    means = F.normalize(own[:, used].mT @ units, dim=-1)
    grid = round(len(shares) ** 0.5)
    plane = shares[:, used].mT.unflatten(1, (grid, grid))[None]
    large = F.interpolate(plane, (side, side), mode="bilinear", align_corners=False)
    return (texts @ means.mT)[:, large[0].argmax(0)]


build = builder(AfterVilSeg, AfterVilSegTower)
