"""ZeroSeg (Chen et al. 2023, ICCV): groups of patches that learn from CLIP's view of crops.

No text is seen in training. An encoder, trained as a masked autoencoder, is followed by layers
that gather its patches into groups (GroupViT's grouping block); a group's features are those of
the frozen CLIP's images. A patch has the features of the group that it belongs to most, and they
are compared with CLIP's texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovsslib.peers.dense import DenseClip, PhotoConfig
from ovsslib.peers.head import HeadTower
from ovsslib.peers.method import builder
from ovsslib.peers.tower import resized_grid

if TYPE_CHECKING:
    import open_clip


class ZeroSegHead(nn.Module):
    """The student: images to groups. Patches are as large as the CLIP's.

    Args:
        clip: Of open_clip; its sizes are used.
        width: Of a token.
        encoder: Layers of patches alone.
        tokens: Group tokens.
        groups: That they become.
        before: Layers of patches and group tokens.
        after: Layers of groups.
    """

    def __init__(
        self,
        clip: open_clip.CLIP,
        *,
        width: int = 128,
        encoder: int = 3,
        tokens: int = 12,
        groups: int = 8,
        before: int = 2,
        after: int = 1,
    ) -> None:
        from transformers import GroupViTVisionConfig
        from transformers.models.groupvit.modeling_groupvit import (
            GroupViTEncoderLayer,
            GroupViTStage,
        )

        super().__init__()
        vision: Any = clip.visual
        self.side, self.patch = vision.image_size[0], vision.patch_size[0]
        config = GroupViTVisionConfig(
            hidden_size=width, intermediate_size=4 * width, num_attention_heads=4
        )
        self.embed = nn.Conv2d(3, width, self.patch, self.patch)
        self.positions = nn.Parameter(torch.zeros((self.side // self.patch) ** 2, width))
        self.layers = nn.ModuleList(GroupViTEncoderLayer(config) for _ in range(encoder))
        self.norm = nn.LayerNorm(width)
        self.gather = GroupViTStage(config, before, 0, tokens, groups)
        self.after = GroupViTStage(config, after, 0, 0, 0)
        self.norm_groups = nn.LayerNorm(width)
        self.project = nn.Linear(width, vision.proj.shape[1])
        for start in (self.positions, self.gather.group_token):
            nn.init.trunc_normal_(start, std=0.02)

    def encode(self, pixels: Tensor, kept: Tensor | None = None) -> Tensor:
        """Tokens (B, K, D) of patches.

        Args:
            pixels: (B, 3, S, S); positions are interpolated where S is not the CLIP's.
            kept: (B, K) numbers of the patches that are seen; None for all.
        """
        positions = resized_grid(self.positions, pixels.shape[-1] // self.patch)
        tokens = self.embed(pixels).flatten(2).mT + positions
        if kept is not None:
            tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
        for layer in self.layers:
            tokens = layer(tokens, attention_mask=None)
        found: Tensor = self.norm(tokens)
        return found

    def groups(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Groups (B, G, D), and how they share each patch, (B, G, K), of tokens (B, K, D)."""
        gathered, _, share = self.gather(tokens, output_attentions=True)
        return self.norm_groups(self.after(gathered)[0]), share

    def features(self, groups: Tensor) -> Tensor:
        """Unit features (B, G, E) in CLIP's space."""
        return F.normalize(self.project(groups).float(), dim=-1)


class ZeroSegTower(HeadTower):
    """A CLIP, of which only the texts are used, and the student."""

    system, head_class = "zeroseg", ZeroSegHead


class ZeroSeg(DenseClip):
    """ZeroSeg; planes are cosines."""

    name = "zeroseg"
    settings = PhotoConfig
    matcher: Any

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S): those of their groups."""
        head = self.matcher.head
        groups, share = head.groups(head.encode(pixels.float()))
        units, best = head.features(groups), share.argmax(1)
        return units.gather(1, best[..., None].expand(-1, -1, units.shape[-1]))


build = builder(ZeroSeg, ZeroSegTower)
