"""BLIP-2's image-text matching network in plain torch, for inference.

The parameter names are those of transformers' `Blip2ForImageTextRetrieval`, whose import takes
longer than segmenting an image. Architecture: BLIP-2 (arXiv 2301.12597), section 3.1: a ViT, and
the Q-Former, in which Q learnt query tokens and the text attend to each other, and the queries (the
text never) to the image in every second layer. The match is judged from the queries.

No attention leads from words to patches here. `QFormer.forward` composes one; the page
"BLIP-2" of the book says why so.

Letters: R pairs, A heads, T text tokens, Q queries, P patches, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, empty, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from ovsslib.vlm.blip.net import ImageEncoder
from ovsslib.vlm.blip2.shape import Blip2Shape
from ovsslib.vlm.sizes import EncoderShape

# What checkpoints hold beside the weights that matching needs: the contrastive heads, and in those
# made for captions a language model.
_UNUSED = ("vision_projection.", "text_projection.", "language_model.", "language_projection.")


def used_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint that matching needs.

    Example:
        >>> list(used_weights({"text_projection.bias": empty(9), "itm_head.bias": empty(2)}))
        ['itm_head.bias']
    """
    return {name: value for name, value in weights.items() if not name.startswith(_UNUSED)}


def compose(reads: Tensor, looks: Tensor) -> Tensor:
    """Text-to-image attention by way of the queries.

    Args:
        reads: (R, T, Q) share of each word's attention that goes to each query.
        looks: (R, A, Q, 1+P) probabilities with which queries look at image tokens.

    Returns:
        (R, A, T, 1+P); rows sum to the share that goes to queries at all.

    Example:
        >>> compose(torch.tensor([[[0.5, 0.0]]]), torch.tensor([[[[0.2, 0.8], [1.0, 0.0]]]]))
        tensor([[[[0.1000, 0.4000]]]])
    """
    return reads[:, None] @ looks


def attach(looks: Tensor, reads: Tensor, composed: Tensor) -> Tensor:
    """The same `looks`, as a function of `composed`.

    Where a word's composed attention to a patch grows by a fraction, each query's attention to that
    patch grows by this fraction times the word's share for that query. So the derivative by the
    composed attention C(t, p) is the mean of those by looks(q, p), weighted by the queries' parts
    `reads(t, q) * looks(q, p)` of C(t, p).

    Args:
        looks: (R, A, Q, 1+P), no graph.
        reads: (R, T, Q), no graph.
        composed: (R, A, T, 1+P), of `compose`; the graph's leaf.

    Returns:
        (R, A, Q, 1+P), with the values of `looks`.
    """
    start = composed.detach()
    # Entries that have vanished have no part in anything: 0 / tiny.
    growth = (composed - start) / start.clamp_min(torch.finfo(start.dtype).tiny)
    return looks * (1 + reads.mT[:, None] @ growth)


class QueryAttention(nn.Module):
    """Self- or cross-attention of the Q-Former, with the norm after it."""

    def __init__(self, shape: EncoderShape, source: int) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        sources = {"query": width, "key": source, "value": source}
        self.attention = nn.ModuleDict({name: nn.Linear(n, width) for name, n in sources.items()})
        norm = nn.LayerNorm(width, eps=shape.eps)
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": norm})

    def forward(self, states: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """Fused attention of `states` (R, N, D) to `source`."""
        query, key = self._project("query", states), self._project("key", source)
        value = self._project("value", source)
        return self._finish(states, scaled_dot_product_attention(query, key, value, mask))

    def looks(self, states: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """Probabilities (R, A, N, M) with which N states look at M sources."""
        query, key = self._project("query", states), self._project("key", source)
        scores = query @ key.mT / query.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(dim=-1)

    def through(self, states: Tensor, source: Tensor, looks: Tensor) -> Tensor:
        """What `forward` gives, from the probabilities."""
        return self._finish(states, looks @ self._project("value", source))

    def _project(self, part: str, states: Tensor) -> Tensor:
        return self.attention[part](states).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _finish(self, states: Tensor, seen: Tensor) -> Tensor:
        dense = self.output["dense"](seen.transpose(1, 2).flatten(2))
        return self.output["LayerNorm"](dense + states)


class QFormerLayer(nn.Module):
    """Self-attention of queries and text, cross-attention of queries, an MLP for either."""

    def __init__(self, shape: Blip2Shape, *, cross: bool) -> None:
        super().__init__()
        width, inner = shape.text.width, shape.text.inner
        self.attention = QueryAttention(shape.text, width)
        if cross:
            self.crossattention = QueryAttention(shape.text, shape.image.width)
        for side in ("", "_query"):
            norm = nn.LayerNorm(width, eps=shape.text.eps)
            parts = {"dense": nn.Linear(inner, width), "LayerNorm": norm}
            self.add_module(
                f"intermediate{side}", nn.ModuleDict({"dense": nn.Linear(width, inner)})
            )
            self.add_module(f"output{side}", nn.ModuleDict(parts))

    def mlp(self, states: Tensor, side: str) -> Tensor:
        """(R, N, D) to the same shape; the side is `"_query"`, or empty for text."""
        first: Any = self.get_submodule(f"intermediate{side}")
        second: Any = self.get_submodule(f"output{side}")
        inner = gelu(first["dense"](states))
        return second["LayerNorm"](second["dense"](inner) + states)


class QFormer(nn.Module):
    """The querying transformer."""

    def __init__(self, shape: Blip2Shape) -> None:
        super().__init__()
        self.queries, self.every, count = shape.queries, shape.every, shape.text.layers
        self.layernorm = nn.LayerNorm(shape.text.width, eps=shape.text.eps)
        layers = [QFormerLayer(shape, cross=i % shape.every == 0) for i in range(count)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def forward(
        self, states: Tensor, mask: Tensor | None, image: Tensor, watch: int, gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """Read texts against images.

        Args:
            states: (R, Q+T, D) embeddings, those of queries first.
            mask: (R, Q+T) bool, False for padding; None where no text is padded.
            image: (R, 1+P, D) image tokens.
            watch: Which of the layers with cross-attention is read, 1 to L (the caller checks).
            gradient: Whether the composed attention is a leaf from which a graph leads on.

        Returns:
            States (R, Q, D) of the queries, and the composed attention (R, A, T, 1+P): per head of
            the watched cross-attention, with the mean over heads of the next layer's
            self-attention. It is 0 for padding.
        """
        states = self.layernorm(states)
        keep = None if mask is None else mask[:, None, None, :]
        layers: list[Any] = list(self.encoder["layer"].children())
        for index, layer in enumerate(layers):
            last = index == len(layers) - 1
            # The match is read from the queries: the last layer need not finish any word.
            looking = states[:, : self.queries] if last else states
            seen = layer.attention(looking, states, keep)
            queries = seen[:, : self.queries]
            words = layer.mlp(seen[:, self.queries :], "")
            if index == (watch - 1) * self.every:
                # What words will read of this must be known before the graph begins.
                looks = layer.crossattention.looks(queries, image)
                ahead = layer.crossattention.through(queries, image, looks)
                ahead = torch.cat([layer.mlp(ahead, "_query"), words], dim=1)
                reads = layers[index + 1].attention.looks(ahead[:, self.queries :], ahead, keep)
                reads = reads[..., : self.queries].mean(dim=1)
                if mask is not None:
                    reads = reads * mask[:, self.queries :, None]
                composed = compose(reads, looks)
                if not gradient:
                    states = ahead
                    continue
                looks = attach(looks, reads, composed.requires_grad_())
                queries = layer.crossattention.through(queries, image, looks)
            elif index % self.every == 0:
                queries = layer.crossattention(queries, image)
            states = torch.cat([layer.mlp(queries, "_query"), words], dim=1)
        return states, composed


class Blip2Net(nn.Module):
    """Image encoder, embeddings, Q-Former and the matching head."""

    def __init__(self, shape: Blip2Shape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.text.width
        self.vision_model = ImageEncoder(shape)
        self.query_tokens = nn.Parameter(empty(1, shape.queries, width))
        # nn.Embedding(n, width) would import torch's compiler to draw weights on the meta device.
        words = nn.Embedding.from_pretrained(empty(shape.vocabulary, width))
        places = nn.Embedding.from_pretrained(empty(shape.positions, width))
        self.embeddings = nn.ModuleDict({"word_embeddings": words, "position_embeddings": places})
        self.qformer = QFormer(shape)
        self.itm_head = nn.Linear(width, 2)

    def place(self, device: torch.device, dtype: torch.dtype) -> Blip2Net:
        """Move to a device and a type; in half precision all but the image encoder is float32.

        transformers keeps the Q-Former and its queries in float32 too. Its part of the work is
        small, and products of two probabilities would vanish in float16.
        """
        wide = torch.promote_types(dtype, torch.float32)
        for name, part in self.named_children():
            part.to(device, dtype if name == "vision_model" else wide)
        queries = self.query_tokens
        self.query_tokens = nn.Parameter(queries.detach().to(device, wide), queries.requires_grad)
        return self

    def forward(
        self, ids: Tensor, mask: Tensor | None, image: Tensor, watch: int, gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """Match texts with images.

        Args:
            ids: (R, T) token ids.
            mask: (R, T) bool, False for padding; None where no text is padded.
            image: (R, 1+P, D) image tokens.
            watch: See `QFormer.forward`.
            gradient: See there.

        Returns:
            Logits (R, 2), the mean of all queries' logits, and composed attention (R, A, T, 1+P).
        """
        places = torch.arange(ids.shape[1], device=ids.device)
        words = self.embeddings["word_embeddings"](ids)
        words = words + self.embeddings["position_embeddings"](places)
        queries = self.query_tokens.expand(len(ids), -1, -1)
        if mask is not None:
            mask = torch.cat([mask.new_ones(queries.shape[:2]), mask], dim=1)
        states = torch.cat([queries, words], dim=1)
        states, attention = self.qformer(states, mask, image.to(states.dtype), watch, gradient)
        return self.itm_head(states).mean(dim=1), attention
