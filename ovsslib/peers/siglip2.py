"""SigLIP and SigLIP 2 (Zhai et al. 2023; Tschannen et al. 2025), read out patch by patch.

They have no class token: a learned query attends to all patches, and a small network follows. What
a patch alone would give is well defined: if all heads of that query looked at one patch only, they
would read its value, so that

    u = W_o (W_v x + b_v) + b_o,    f = u + MLP(LN(u))

with x the patch's token after the last layer. No training makes f of a patch comparable with texts
but that the mixture of many is; the last layer's own attention stays as it is. Texts are written in
small letters and padded to the full length, and the padding is attended to, as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError
from ovsslib.peers.dense import DenseClip
from ovsslib.peers.hub_tower import HubTower
from ovsslib.peers.method import builder

if TYPE_CHECKING:
    from torch import Tensor


class SigLipTower(HubTower):
    """SigLIP of transformers, with a fixed size of images (SigLIP 2, too) or any (NaFlex)."""

    what, classes = "SigLIP", {"siglip": "SiglipModel", "siglip2": "Siglip2Model"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not self.model.vision_model.use_head:
            raise OvssError(f"{self.name} has no pooling head, so patches cannot be compared")

    @property
    def own_side(self) -> int:
        """Side in pixels of the images that the model was trained with."""
        vision = self.model.config.vision_config
        if self.model.config.model_type == "siglip2":
            return round(vision.num_patches**0.5) * self.patch
        return super().own_side

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features (N, E) of N texts."""
        small = [text.lower() for text in texts]
        rows = self.tokens(small, padding="max_length", padding_side="right")
        found: Tensor = self.model.get_text_features(rows["input_ids"]).pooler_output
        return found

    def patches(self, pixels: Tensor) -> Tensor:
        """Tokens (B, P, D) after the last layer and normalisation, of images (B, 3, S, S)."""
        vision, size = self.model.vision_model, self.patch
        if self.model.config.model_type == "siglip":
            other = pixels.shape[-1] != self.own_side
            tokens: Tensor = vision(pixels, interpolate_pos_encoding=other).last_hidden_state
            return tokens
        # NaFlex takes patches as rows of numbers, the colour last.
        rows = F.unfold(pixels, size, stride=size).mT
        rows = rows.unflatten(2, (3, -1)).transpose(2, 3).flatten(2)
        side = pixels.shape[-1] // size
        shapes = torch.full((len(pixels), 2), side, device=pixels.device)
        whole = torch.ones(rows.shape[:2], dtype=torch.int32, device=pixels.device)
        naflex: Tensor = vision(rows, whole, shapes).last_hidden_state
        return naflex


class SigLip(DenseClip):
    """SigLIP, patch by patch."""

    name = "siglip2"
    matcher: Any

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        head, tokens = self.matcher.model.vision_model.head, self.matcher.patches(pixels)
        attention = head.attention
        weight, bias = attention.in_proj_weight.chunk(3)[2], attention.in_proj_bias.chunk(3)[2]
        read = attention.out_proj(F.linear(tokens, weight, bias))
        features: Tensor = read + head.mlp(head.layernorm(read))
        return features


build = builder(SigLip, SigLipTower)
