"""BridgeTower's image-text matching network in plain torch, for inference.

The parameter names are those of transformers' `BridgeTowerForImageAndTextRetrieval`, whose import
takes longer than segmenting an image. Attention is fused, except the one cross-attention that is
read. Architecture: BridgeTower (arXiv 2206.08657), section 3: an image and a text encoder, whose
last N layers each feed one of the N cross-modal layers; in these, words look at patches and patches
look at words.

Letters: B images, R texts, A heads, T text tokens, P patches, D width, N cross-modal layers.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor, empty, nn

from ovsslib.vlm.blip.net import TextLayer
from ovsslib.vlm.bridgetower.encoders import ImageEncoder, TextEncoder
from ovsslib.vlm.bridgetower.shape import BridgeTowerShape
from ovsslib.vlm.sizes import EncoderShape

# What checkpoints hold beside the weights that matching needs: heads of other tasks, the text
# encoder's pooler, and norms and indices that no forward pass reads.
_UNUSED = (
    "mlm_score.",
    "itc_",
    "logit_scale",
    "bridgetower.text_model.pooler.",
    "bridgetower.text_model.embeddings.token_type_ids",
    "bridgetower.vision_model.visual.ln_separate.",
)
# In the order of their rows in the table of token types.
_SIDES = ("text", "image")


def used_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint that matching needs.

    Example:
        >>> weights = {"mlm_score.bias": torch.zeros(1), "itm_score.fc.bias": torch.zeros(2)}
        >>> list(used_weights(weights))
        ['itm_score.fc.bias']
    """
    return {name: value for name, value in weights.items() if not name.startswith(_UNUSED)}


class Link(nn.Module):
    """A bridge: joins an encoder layer's output and the cross-modal stream."""

    def __init__(self, shape: BridgeTowerShape) -> None:
        super().__init__()
        self.kind = shape.link
        if self.kind == "scaled_add":
            self.scaled_factor = nn.Parameter(empty(()))
        elif self.kind == "interpolate":
            self.beta = nn.Parameter(empty(()))
        self.LayerNorm = nn.LayerNorm(shape.text.width, eps=shape.eps)

    def forward(self, fresh: Tensor, stream: Tensor) -> Tensor:
        """Two tensors (R, ..., D) to one."""
        if self.kind == "scaled_add":
            fresh = fresh * self.scaled_factor
        elif self.kind == "interpolate":
            fresh, stream = fresh * (1 - self.beta), stream * self.beta
        return self.LayerNorm(fresh + stream)


class CrossLayer(TextLayer):
    """One side of a cross-modal layer: looks at its own stream, then at the other one."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__(shape, shape.width)

    def forward(
        self,
        states: Tensor,
        other: Tensor,
        masks: tuple[Tensor | None, Tensor | None],
        class_only: bool = False,
    ) -> Tensor:
        """States (R, T, D) that have seen `other`; with `class_only` the first of them alone.

        The masks, for the own and for the other stream, are (R, 1, 1, T), False for padding.
        """
        # Every state is looked at; only those that look cost the rest of the layer.
        looking = self.attention(states[:, :1] if class_only else states, states, masks[0])
        return self.mlp(self.crossattention(looking, other, masks[1]))

    def watched(
        self, states: Tensor, other: Tensor, mask: Tensor | None, gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """All states, and the probabilities of blip_net's `TextAttention.watched`."""
        looking = self.attention(states, states, mask)
        looking, looks = self.crossattention.watched(looking, other, gradient)
        return self.mlp(looking), looks


class Towers(nn.Module):
    """Both encoders and the cross-modal layers."""

    def __init__(self, shape: BridgeTowerShape) -> None:
        super().__init__()
        width, count = shape.text.width, shape.cross
        self.vision_model = nn.ModuleDict({"visual": ImageEncoder(shape)})
        self.text_model = TextEncoder(shape)
        self.token_type_embeddings = nn.Embedding.from_pretrained(empty(len(_SIDES), width))
        for side, source in zip(_SIDES, (width, shape.image.width), strict=True):
            maps = [nn.Linear(source, width) for _ in range(count)]
            parts = {
                "transform": maps[0] if shape.shared_transform else nn.ModuleList(maps),
                "layernorm": nn.LayerNorm(width, eps=shape.eps),
                "link_tower": nn.ModuleList(Link(shape) for _ in range(count - 1)),
                "layers": nn.ModuleList(CrossLayer(shape.text) for _ in range(count)),
                "pooler": nn.ModuleDict({"dense": nn.Linear(width, width)}),
            }
            for name, part in parts.items():
                self.add_module(f"cross_modal_{side}_{name}", part)

    def part(self, side: str, name: str) -> Any:
        """The cross-modal part of one side, `"text"` or `"image"`."""
        return self.get_submodule(f"cross_modal_{side}_{name}")

    def bridged(self, side: str, outputs: list[Tensor]) -> list[Tensor]:
        """An encoder's N outputs as the N cross-modal layers take them."""
        maps, kind = self.part(side, "transform"), _SIDES.index(side)
        each = maps if isinstance(maps, nn.ModuleList) else [maps] * len(outputs)
        kinds = self.token_type_embeddings.weight[kind]
        found = [one(states) + kinds for one, states in zip(each, outputs, strict=True)]
        found[0] = self.part(side, "layernorm")(found[0])
        return found


class BridgeTowerNet(nn.Module):
    """Encoders, cross-modal layers and the matching head."""

    def __init__(self, shape: BridgeTowerShape) -> None:
        super().__init__()
        self.shape = shape
        self.bridgetower = Towers(shape)
        self.itm_score = nn.ModuleDict({"fc": nn.Linear(2 * shape.text.width, 2)})

    def encode(self, pixels: Tensor) -> Tensor:
        """All of the image side that no text has a say in.

        Args:
            pixels: (B, 3, S, S), normalised.

        Returns:
            (B, 1+P, N*D): what each cross-modal layer takes in, one after the other.
        """
        towers = self.bridgetower
        outputs = towers.vision_model["visual"](pixels)
        return torch.cat(towers.bridged("image", outputs), dim=-1)

    def forward(
        self, ids: Tensor, mask: Tensor | None, image: Tensor, watch: int, gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """Match texts with images.

        Args:
            ids: (R, T) token ids.
            mask: (R, T) bool, False for padding; None where no text is padded.
            image: (R, 1+P, N*D), see `encode`.
            watch: Cross-modal layer whose text-side cross-attention is returned, 1 to N (the
                caller checks).
            gradient: See blip_net's `TextAttention.watched`.

        Returns:
            Logits (R, 2) and attention (R, A, T, 1+P).
        """
        logits, (looks,) = self.read(ids, mask, image, (watch,), gradient)
        return logits, looks

    def read(
        self,
        ids: Tensor,
        mask: Tensor | None,
        image: Tensor,
        watch: Container[int],
        gradient: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """The same with any number of layers watched, all in one graph.

        Args:
            ids: As `forward` takes them.
            mask: The same.
            image: The same.
            watch: Layers whose text-side cross-attentions are returned, of 1 to N.
            gradient: Whether a graph leads from them to the logits.

        Returns:
            Logits (R, 2) and each watched layer's attention (R, A, T, 1+P).
        """
        towers, count = self.bridgetower, self.shape.cross
        mask = None if mask is None else mask[:, None, None, :]
        new_words = towers.bridged("text", towers.text_model(ids, mask))
        new_patches = image.unflatten(-1, (count, -1)).unbind(dim=-2)
        words, patches = new_words[0], new_patches[0]
        found: list[Tensor] = []
        for index in range(count):
            if index:
                words = towers.part("text", "link_tower")[index - 1](new_words[index], words)
                patches = towers.part("image", "link_tower")[index - 1](new_patches[index], patches)
            text_layer = towers.part("text", "layers")[index]
            image_layer = towers.part("image", "layers")[index]
            # The head reads both class tokens: the last layer need not finish any other.
            last = index == count - 1
            if index + 1 in watch:
                seen, looks = text_layer.watched(words, patches, mask, gradient)
                found.append(looks)
            else:
                seen = text_layer(words, patches, (mask, None), last)
            patches = image_layer(patches, words, (None, mask), last)
            words = seen
        streams = {"text": words, "image": patches}
        pooled = [
            towers.part(side, "pooler")["dense"](states[:, 0]).tanh()
            for side, states in streams.items()
        ]
        return self.itm_score["fc"](torch.cat(pooled, dim=-1)), found
