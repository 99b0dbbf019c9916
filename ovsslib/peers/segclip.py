"""SegCLIP (Luo et al. 2023, ICML): a CLIP whose last layers work on regions in place of patches.

Patches pass all layers but the last ones. Learned centres then look at them twice and gather them,
each patch by one centre (hard, with Gumbel noise while training):

    R = C k^T, A = one-hot over centres of R, U = A v / max(sum of A, 1),
    out = QuickGELU(MLP(LN(C + U))),

with k and v grouped 1 x 1 convolutions of the patches (a group for each head). There is no
1 / sqrt(d). The last layer works on the centres. An image is the maximum over them, feature by
feature; a pixel has the scores of the centre that it belongs to most, by GroupViT's rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovsslib.peers.groupvit import PUBLISHED, GroupVit
from ovsslib.peers.head import HeadTower
from ovsslib.peers.method import builder
from ovsslib.peers.tower import Tower

if TYPE_CHECKING:
    import open_clip

TAU = 0.9
"""Temperature of the hard assignment."""


class Cross(nn.Module):
    """Centres look at themselves and at patches.

    Args:
        width: D.
        heads: Of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, centres: Tensor, patches: Tensor) -> Tensor:
        """Centres (B, C, D) to others, given patches (B, P, D)."""
        both = self.norms[1](torch.cat([centres, patches], dim=1))
        seen, _ = self.attention(self.norms[0](centres), both, both, need_weights=False)
        centres = centres + seen
        out: Tensor = centres + self.feed(self.norms[2](centres))
        return out


class SegClipHead(nn.Module):
    """What gathers patches into regions.

    Args:
        clip: Of open_clip; its sizes are used.
        centres: How many regions there are.
        cross: Layers in which centres look at patches.
    """

    def __init__(self, clip: open_clip.CLIP, *, centres: int = 8, cross: int = 2) -> None:
        super().__init__()
        last: Any = clip.visual.transformer.resblocks[-1]
        width, heads = last.attn.embed_dim, last.attn.num_heads
        self.centres = nn.Parameter(0.02 * torch.randn(centres, width))
        self.layers = nn.ModuleList(Cross(width, heads) for _ in range(cross))
        self.norm, self.norm_keys, self.norm_out = (nn.LayerNorm(width) for _ in range(3))
        self.keys, self.values = (
            nn.Conv1d(width, width, 1, groups=heads, bias=False) for _ in range(2)
        )
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Regions of images; hard assignments have noise while training.

        Args:
            patches: (B, P, D).

        Returns:
            Regions (B, C, D), and how they share the patches (B, C, P): hard, and softly.
        """
        centres = self.centres.expand(len(patches), -1, -1).to(patches)
        for layer in self.layers:
            centres = layer(centres, patches)
        rows = self.norm(patches).mT
        keys, values = self.norm_keys(self.keys(rows).mT), self.values(rows).mT
        raw = (centres @ keys.mT).float()
        soft = raw.softmax(1)
        if self.training:
            hard = F.gumbel_softmax(raw, tau=TAU, hard=True, dim=1)
        else:
            hard = F.one_hot(raw.argmax(1), raw.shape[1]).mT.to(soft)
        share = hard.to(values)
        gathered = share @ values / share.sum(-1, keepdim=True).clamp(min=1)
        out = self.outer(F.gelu(self.inner(self.norm_out(centres + gathered))))
        return out * torch.sigmoid(1.702 * out), hard, soft


def regions(tower_model: open_clip.CLIP, head: SegClipHead, tokens: Tensor) -> tuple[Tensor, ...]:
    """What CLIP's last layer makes of the regions of patches.

    Args:
        tower_model: The CLIP.
        head: What gathers patches.
        tokens: (B, P, D), patches that leave the layer before the last.

    Returns:
        Features (B, C, E) of regions and (B, E) of the image, both of any length, and the hard and
        soft shares, see `SegClipHead.forward`.
    """
    vision: Any = tower_model.visual
    gathered, hard, soft = head(tokens.float())
    out = vision.transformer.resblocks[-1](gathered.to(tokens.dtype))
    every = torch.cat([out, out.amax(1, keepdim=True)], dim=1)
    features = vision.ln_post(every) @ vision.proj
    return features[:, :-1], features[:, -1], hard, soft


class SegClipTower(HeadTower):
    """A CLIP that was trained with SegCLIP's regions; it lies in the same folder."""

    system, head_class = "segclip", SegClipHead
    head: Any

    def groups(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Regions of images, see `ovsslib.peers.groupvit.GroupTower.groups`."""
        features, whole, _, soft = regions(self.model, self.head, patches_before_last(self, pixels))
        side = pixels.shape[-1] // self.parts.patch
        units = F.normalize(features.float(), dim=-1)
        return units, F.normalize(whole.float(), dim=-1), soft.unflatten(2, (side, side))


def patches_before_last(tower: Tower, pixels: Tensor) -> Tensor:
    """Patches (B, P, D) that leave the layer before the last; they never see a class token."""
    tokens = tower.embed(pixels)[:, 1:]
    for block in tower.parts.blocks[:-1]:
        tokens = block.whole(tokens)
    return tokens


class SegClip(GroupVit):
    """SegCLIP; planes are products of probabilities."""

    name = "segclip"
    published: ClassVar[Mapping[str, float]] = dict(zip(PUBLISHED, (0.8, 0.25, 0.65), strict=True))


build = builder(SegClip, SegClipTower)
