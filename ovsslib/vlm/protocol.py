"""What PnP-OVSS asks of a vision-language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True)
class Tokens:
    """One tokenised text, special tokens included.

    Attributes:
        ids: Token ids, T of them.
        offsets: For each token the half-open character range of the text it came from.
        special: True for tokens that the tokenizer added ([CLS], [SEP], <s>, ...).
        unknown: True for tokens that stand for characters outside the vocabulary.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    special: tuple[bool, ...]
    unknown: tuple[bool, ...]


@dataclass(frozen=True)
class Match:
    """How well R texts match R images, and where each text token looked.

    Attributes:
        logits: (R, 2) raw scores for "does not match" and "matches".
        attention: (R, A, T, 1+P) cross-attention probabilities of the chosen layer, after the
            softmax over the image tokens (the image's class token first); BLIP-2 composes them of
            two attentions, and rows sum to less than 1. Where a gradient was asked for, the graph
            leads from it to `logits` and nowhere else.
    """

    logits: torch.Tensor
    attention: torch.Tensor

    @property
    def logit(self) -> torch.Tensor:
        """(R,) the match logit."""
        return self.logits[:, 1]

    @property
    def probability(self) -> torch.Tensor:
        """(R,) the probability of a match, in [0, 1]."""
        return self.logits.detach().float().softmax(dim=-1)[:, 1]


@dataclass(frozen=True)
class LayerMatch:
    """How well R texts match R images, and where each text token looked in every layer.

    Attributes:
        logits: (R, 2) raw scores for "does not match" and "matches".
        attention: L tensors (R, A, T, 1+P), the cross-attention probabilities of layers 1 to L.
            Where a gradient was asked for, all are in one graph: the derivative of a score by one
            layer's probabilities includes what these change in later layers.
    """

    logits: torch.Tensor
    attention: tuple[torch.Tensor, ...]


class ImageTextMatcher(Protocol):
    """A frozen vision-language model that scores image-text pairs through cross-attention."""

    name: str
    layers: int
    heads: int
    image_size: int
    patch_size: int
    max_tokens: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]

    def preprocess(self, images: Sequence[Image.Image], size: int | None = None) -> torch.Tensor:
        """RGB images of any size to normalised pixels (B, 3, S, S)."""
        ...

    def tokenize(self, text: str) -> Tokens:
        """Split a text into tokens."""
        ...

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) to image tokens (B, 1+P, D), without gradient."""
        ...

    def match(
        self,
        tokens: torch.Tensor,
        texts: Sequence[Tokens],
        layer: int,
        *,
        gradient: bool = False,
    ) -> Match:
        """Match R rows of image tokens (R, 1+P, D) against R texts; `layer` counts from 1."""
        ...

    def match_layers(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], *, gradient: bool = True
    ) -> LayerMatch:
        """The same with the attention of every layer."""
        ...
