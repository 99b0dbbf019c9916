"""BLIP-2 image-text matching on transformers' own modules.

Architecture: BLIP-2 (arXiv 2301.12597), section 3.1: a ViT, and the Q-Former, in which Q learnt
query tokens and the text attend to each other, and the queries (the text never) to the image in
every second layer. The match is read from the queries. No attention leads from words to patches;
`compose` makes one, and the book's page "BLIP-2" says why so.

Letters: R pairs, A heads, T text tokens, Q queries, P patches, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ovsslib.errors import OvssError
from ovsslib.vlm.attention import edited, install, load
from ovsslib.vlm.inputs import pad_texts
from ovsslib.vlm.matcher import Matcher, Sizes
from ovsslib.vlm.protocol import LayerMatch, Tokens
from ovsslib.vlm.state import own_state

# What checkpoints hold beside the weights that matching needs: the contrastive heads, and in those
# made for captions a language model.
_UNREAD = (
    "vision_projection.", "text_projection.", "language_model.", "language_projection.",
    "embeddings.position_ids",
)  # fmt: skip


class Blip2Matcher(Matcher):
    """A frozen BLIP-2 that scores image-text pairs and shows what each token saw by its queries.

    No word of BLIP-2 looks at the image: Q query tokens do (32 in the published models), and
    words look at queries. The attention given here is composed of both,
    `sum over q of self(t, q) * cross(q, p)`: `cross` is the chosen layer's cross-attention,
    head by head, and `self` the next layer's self-attention, the mean over its heads. A row sums
    to the share of the word's attention that goes to queries, at most 1. Layers are those with
    cross-attention (six in the published models: the Q-Former's 1st, 3rd, ... 11th).

    The gradient by it is, for word t and patch p, the mean over queries of the match logit's
    derivative by `cross(q, p)`, weighted by each query's part of the sum. So attention times
    gradient is `sum over q of self(t, q) * cross(q, p) * d logit / d cross(q, p)`.

    A text is read as transformers and LAVIS read it, `[CLS]` first. The attention of padding is
    0. In half precision logits and attention are float32. Image tokens of another width are refused
    as another model's. The other arguments are those of `Matcher`.

    Args:
        model: transformers' `Blip2ForImageTextRetrieval`; its weights are frozen here. In half
            precision all but the image encoder is made float32, as transformers does for most of
            it: products of two probabilities would vanish in float16.
        tokenizer: The `tokenizers.Tokenizer` of the Q-Former.

    Raises:
        OvssError: The tokenizer has more tokens than the model has embeddings, or the model cannot
            match texts.
    """

    family = "blip2"

    def _set_up(self) -> Sizes:
        install(self.model)
        config = self.model.config
        words, vision = config.qformer_config, config.vision_config
        every = words.cross_attention_frequency
        # Not the very last layer: no word looks at queries after it.
        layers = len(range(0, words.num_hidden_layers - 1, every))
        if not words.use_qformer_text_input:
            raise OvssError(
                "qformer_config: use_qformer_text_input is not set, so this BLIP-2 cannot match "
                "texts; take one for matching, such as Salesforce/blip2-itm-vit-g"
            )
        if not layers:
            raise OvssError("a Q-Former of one layer has no word that looks at a query afterwards")
        wide = torch.promote_types(self.dtype, torch.float32)
        for name, part in self.model.named_children():
            if name != "vision_model":
                part.to(wide)
        queries = self.model.query_tokens
        self.model.query_tokens = nn.Parameter(queries.detach().to(wide), requires_grad=False)
        self._width = vision.hidden_size
        pad = words.pad_token_id or 0
        unknown = self.tokenizer.token_to_id("[UNK]")
        self._unk: int = pad if unknown is None else unknown
        return Sizes(
            layers=layers,
            heads=words.num_attention_heads,
            tokens=words.max_position_embeddings,
            patch=vision.patch_size,
            image_size=vision.image_size,
            pad=pad,
            vocabulary=words.vocab_size,
        )

    @property
    def image_encoder(self) -> nn.Module:
        """The part that sees images only; it takes no gradient and can be compiled."""
        return self.model.vision_model

    @property
    def dtype(self) -> torch.dtype:
        """The type of the image encoder's weights, and of image tokens."""
        return self.model.vision_model.embeddings.patch_embedding.weight.dtype

    def tokenize(self, text: str) -> Tokens:
        """Split a text into tokens, `[CLS]` and `[SEP]` included."""
        encoding = self.tokenizer.encode(text)
        # The placeholder for images, if a text spells it, is a word like any unknown one.
        rows = self.model.config.qformer_config.vocab_size
        ids = tuple(self._unk if token >= rows else token for token in encoding.ids)
        return Tokens(
            ids=ids,
            offsets=tuple(encoding.offsets),
            special=tuple(bool(flag) for flag in encoding.special_tokens_mask),
            unknown=tuple(token == self._unk for token in ids),
        )

    @own_state()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Run the image encoder.

        Args:
            pixels: (B, 3, S, S) normalised pixels; S a multiple of the patch. Position
                embeddings are interpolated (bicubic) where S is not the training size.

        Returns:
            (B, 1+P, D) image tokens, the class token first.
        """
        pixels = pixels.to(self.device, self.dtype)
        encoded = self.model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True)
        return encoded.last_hidden_state

    def match_layers(
        self, tokens: Tensor, texts: Sequence[Tokens], *, gradient: bool = True
    ) -> LayerMatch:
        """Not offered: the composed attentions of several layers share no graph.

        Raises:
            OvssError: Always.
        """
        del tokens, texts, gradient
        raise OvssError(
            f"{self.name}: BLIP-2 does not offer all layers in one pass; read one layer at a time"
        )

    def _read(
        self, tokens: Tensor, texts: Sequence[Tokens], layers: Sequence[int], gradient: bool
    ) -> tuple[Tensor, list[Tensor]]:
        self._check_width(tokens, self._width)
        (layer,) = layers
        ids, padding = pad_texts(texts, self._pad)
        model = self.model
        queries = model.query_tokens.expand(len(ids), -1, -1)
        mask = None
        if padding is not None:
            padding = padding.to(self.device)
            mask = torch.cat([padding.new_ones(queries.shape[:2]), padding], dim=1)
        # Frozen weights and detached images: no graph exists below the composed attention.
        with torch.set_grad_enabled(gradient):
            states = model.embeddings(input_ids=ids.to(self.device), query_embeds=queries)
            image = tokens.detach().to(states.dtype)
            index = (layer - 1) * model.config.qformer_config.cross_attention_frequency
            states, attention = self._query(states, mask, image, index, gradient)
            return model.itm_head(states).mean(dim=1), [attention]

    def _query(
        self, states: Tensor, mask: Tensor | None, image: Tensor, watch: int, gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """The Q-Former on (R, Q+T, D) embeddings, those of queries first.

        Args:
            states: The embeddings.
            mask: (R, Q+T) bool, False for padding; None where no text is padded.
            image: (R, 1+P, D) image tokens.
            watch: Index of the layer whose cross-attention is read.
            gradient: Whether the composed attention is a leaf from which a graph leads on.

        Returns:
            States (R, Q, D) of the queries, and the composed attention (R, A, T, 1+P), 0 for
            padding.
        """
        layers: Any = self.model.qformer.encoder.layer
        count = self.model.query_tokens.shape[1]
        states = self.model.qformer.layernorm(states)
        keep = None if mask is None else mask[:, None, None]
        for index, layer in enumerate(layers):
            seen = layer.attention(states, attention_mask=keep)
            queries, words = seen[:, :count], layer.feed_forward_chunk(seen[:, count:])
            if index == watch:
                # What words will read of this must be known before the graph begins.
                ahead, cross = _observed(layer.crossattention, queries, image)
                ahead = torch.cat([layer.feed_forward_chunk_query(ahead), words], dim=1)
                _, reads = _observed(layers[index + 1].attention, ahead, None, keep)
                reads = reads[..., count:, :count].mean(dim=1)
                if mask is not None:
                    reads = reads * mask[:, count:, None]
                composed = compose(reads, cross)
                if not gradient:
                    states = ahead
                    continue
                attached = attach(cross, reads, composed.requires_grad_())
                queries, _ = _observed(layer.crossattention, queries, image, instead=attached)
            elif layer.has_cross_attention:
                queries = layer.crossattention(queries, encoder_hidden_states=image)
            states = torch.cat([layer.feed_forward_chunk_query(queries), words], dim=1)
        return states[:, :count], composed


def _observed(
    module: Any,
    states: Tensor,
    image: Tensor | None,
    mask: Tensor | None = None,
    instead: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What an attention gives, and its probabilities (R, A, N, M), or those given instead."""
    kept: list[Tensor] = []

    def keep(probabilities: Tensor) -> Tensor:
        kept.append(probabilities if instead is None else instead)
        return kept[-1]

    with edited(module.attention, keep):
        seen = module(states, attention_mask=mask, encoder_hidden_states=image)
    return seen, kept[0]


def compose(reads: Tensor, cross: Tensor) -> Tensor:
    """Text-to-image attention by way of the queries.

    Args:
        reads: (R, T, Q) share of each word's attention that goes to each query.
        cross: (R, A, Q, 1+P) probabilities with which queries look at image tokens.

    Returns:
        (R, A, T, 1+P); rows sum to the share that goes to queries at all.

    Example:
        >>> compose(torch.tensor([[[0.5, 0.0]]]), torch.tensor([[[[0.2, 0.8], [1.0, 0.0]]]]))
        tensor([[[[0.1000, 0.4000]]]])
    """
    return reads[:, None] @ cross


def attach(cross: Tensor, reads: Tensor, composed: Tensor) -> Tensor:
    """The same `cross`, as a function of `composed`.

    Where a word's composed attention to a patch grows by a fraction, each query's attention to that
    patch grows by this fraction times the word's share for that query. So the derivative by the
    composed attention C(t, p) is the mean of those by cross(q, p), weighted by the queries' parts
    `reads(t, q) * cross(q, p)` of C(t, p).

    Args:
        cross: (R, A, Q, 1+P), no graph.
        reads: (R, T, Q), no graph.
        composed: (R, A, T, 1+P), of `compose`; the graph's leaf.

    Returns:
        (R, A, Q, 1+P), with the values of `cross`.
    """
    start = composed.detach()
    # Entries that have vanished have no part in anything: 0 / tiny.
    growth = (composed - start) / start.clamp_min(torch.finfo(start.dtype).tiny)
    return cross * (1 + reads.mT[:, None] @ growth)


def load_blip2(folder: Path, name: str, dtype: torch.dtype, device: torch.device) -> Blip2Matcher:
    """Load a checkpoint folder in transformers' format.

    Args:
        folder: Holds `config.json`, the weights, the tokenizer and the processor's settings.
            Weights of other heads and of a language model are ignored.
        name: What to call the model in results.
        dtype: Type of the image encoder's weights; in half precision the others are float32.
        device: Where to put them.

    Raises:
        OvssError: Weights (such as those of the matching head) or the tokenizer are missing or
            unreadable, or belong to another architecture.
    """
    return load(
        Blip2Matcher, "Blip2ForImageTextRetrieval", folder, name, dtype, device, unread=_UNREAD
    )
