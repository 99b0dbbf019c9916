"""BridgeTower's two encoders in plain torch: CLIP's image encoder and RoBERTa.

Both hand back the outputs of their last N layers, one for each cross-modal layer. The parameter
names are those of transformers' `BridgeTowerForImageAndTextRetrieval`.

Letters: B images, R texts, T text tokens, P patches, D width, N cross-modal layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, empty, nn
from torch.nn.functional import linear

from ovsslib.vlm.blip.net import TextLayer, attend, resize_positions
from ovsslib.vlm.bridgetower.shape import BridgeTowerShape
from ovsslib.vlm.sizes import EncoderShape


class ImageAttention(nn.Module):
    """Self-attention with the three projections in one matrix."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        self.in_proj_weight = nn.Parameter(empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        """(B, 1+P, D) to the same shape."""
        parts = linear(states, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in parts)
        seen = attend(query, key, value)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class ImageLayer(nn.Module):
    """A layer of CLIP's image encoder: norms before attention and MLP."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        width = shape.width
        self.attn = ImageAttention(shape)
        self.ln_1 = nn.LayerNorm(width, eps=shape.eps)
        self.ln_2 = nn.LayerNorm(width, eps=shape.eps)
        wide, narrow = nn.Linear(width, shape.inner), nn.Linear(shape.inner, width)
        self.mlp = nn.ModuleDict({"c_fc": wide, "c_proj": narrow})

    def forward(self, states: Tensor) -> Tensor:
        """(B, 1+P, D) to the same shape."""
        states = states + self.attn(self.ln_1(states))
        inner = self.mlp["c_fc"](self.ln_2(states))
        # CLIP's approximation of GELU
        return states + self.mlp["c_proj"](inner * torch.sigmoid(1.702 * inner))


class ImageEmbeddings(nn.Module):
    """Patches, the class token before them, and their positions."""

    def __init__(self, shape: BridgeTowerShape) -> None:
        super().__init__()
        width, self.side = shape.image.width, shape.image_size // shape.patch
        self.class_embedding = nn.Parameter(empty(width))
        self.patch_embedding = nn.Conv2d(3, width, shape.patch, stride=shape.patch, bias=False)
        self.position_embedding = nn.Embedding.from_pretrained(empty(1 + self.side**2, width))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 1+P, D); positions are interpolated where S is not the model's."""
        patches = self.patch_embedding(pixels)
        rows, columns = patches.shape[-2:]
        positions = self.position_embedding.weight[None]
        positions = resize_positions(positions, self.side, rows, columns)
        parts = [self.class_embedding.expand(len(pixels), 1, -1), patches.flatten(2).mT]
        return torch.cat(parts, dim=1) + positions


class ImageEncoder(nn.Module):
    """The ViT of CLIP."""

    def __init__(self, shape: BridgeTowerShape) -> None:
        super().__init__()
        self.embeddings = ImageEmbeddings(shape)
        self.ln_pre = nn.LayerNorm(shape.image.width, eps=shape.image.eps)
        layers = [ImageLayer(shape.image) for _ in range(shape.image.layers)]
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(layers)})
        self.ln_post = nn.LayerNorm(shape.image.width, eps=shape.image.eps)
        self.first, self.last = shape.first, shape.text.layers

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Pixels (B, 3, S, S) to the N layers' outputs (B, 1+P, D) that are bridged."""
        states, found = self.ln_pre(self.embeddings(pixels)), []
        for number, layer in enumerate(self.transformer["resblocks"].children(), start=1):
            if number > self.last:  # read by nothing
                break
            states = layer(states)
            if number >= self.first:
                found.append(self.ln_post(states))
        return found


class PlainLayer(TextLayer):
    """A layer of RoBERTa: a text layer that sees no image."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__(shape, shape.width)
        del self.crossattention

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """(R, T, D) to the same shape."""
        return self.mlp(self.attention(states, states, mask))


class TextEncoder(nn.Module):
    """RoBERTa."""

    def __init__(self, shape: BridgeTowerShape) -> None:
        super().__init__()
        width, self.pad = shape.text.width, shape.pad
        # nn.Embedding(n, width) would import torch's compiler to draw weights on the meta device.
        tables = {"word": shape.vocabulary, "position": shape.places, "token_type": shape.types}
        self.embeddings = nn.ModuleDict(
            {
                f"{name}_embeddings": nn.Embedding.from_pretrained(empty(rows, width))
                for name, rows in tables.items()
            }
        )
        self.embeddings["LayerNorm"] = nn.LayerNorm(width, eps=shape.text.eps)
        layers = [PlainLayer(shape.text) for _ in range(shape.text.layers)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self.first = shape.first

    def forward(self, ids: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Ids (R, T) to the N layers' outputs (R, T, D) that are bridged; mask (R, 1, 1, T)."""
        parts = self.embeddings
        real = ids.ne(self.pad).long()
        places = real.cumsum(dim=1) * real + self.pad
        states = (
            parts["word_embeddings"](ids)
            + parts["token_type_embeddings"].get_parameter("weight")[0]
        )
        states, found = parts["LayerNorm"](states + parts["position_embeddings"](places)), []
        for number, layer in enumerate(self.encoder["layer"].children(), start=1):
            states = layer(states, mask)
            if number >= self.first:
                found.append(states)
        return found
