"""What all shipped matchers have in common; each family adds how its network reads.

Letters: B images, R image-text pairs, T text tokens, P patches, D features, L layers, A heads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL import Image
from tokenizers import Tokenizer

from ovsslib.errors import OvssError
from ovsslib.vlm.finite import check_weights
from ovsslib.vlm.inputs import CLIP_MEAN, CLIP_STD, check_colours, check_layer, squash
from ovsslib.vlm.protocol import LayerMatch, Match, Tokens
from ovsslib.vlm.state import own_state


@dataclass(frozen=True)
class Sizes:
    """What `Matcher` needs to know of a network.

    Attributes:
        layers: Number of layers whose attention can be read, L.
        heads: Heads of their cross-attention, A.
        tokens: Most tokens in a text.
        patch: Side of a patch in pixels.
        image_size: Side of the square images it was trained with.
        pad: Id of the padding token.
        vocabulary: Number of token embeddings.
    """

    layers: int
    heads: int
    tokens: int
    patch: int
    image_size: int
    pad: int
    vocabulary: int


class Matcher(ABC):
    """A frozen model that scores image-text pairs and shows where each token looked.

    Args:
        model: The network; its weights are frozen here.
        tokenizer: The `tokenizers.Tokenizer` of its text encoder.
        name: What to call it in results; None takes the family's name.
        image_mean: Means of the red, green and blue channel, on a scale of 0 to 1.
        image_std: Their standard deviations.
        image_size: Side of the square input in pixels; None takes the model's own.

    Raises:
        OvssError: A weight is not finite, the means and deviations are impossible, or the
            tokenizer belongs to another model.
    """

    family: ClassVar[str]

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        name: str | None = None,
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        image_size: int | None = None,
    ) -> None:
        self.model = self._network(model).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name: str = self.family if name is None else name
        check_weights(self.model, self.name)
        sizes = self._set_up()
        self.layers: int = sizes.layers
        self.heads: int = sizes.heads
        self.max_tokens: int = sizes.tokens
        self.patch_size: int = sizes.patch
        self.image_size: int = image_size or sizes.image_size
        self.image_mean, self.image_std = check_colours(image_mean, image_std)
        self._pad: int = sizes.pad
        # transformers' processor of BLIP-2 adds a placeholder that no embedding belongs to.
        known = tokenizer.get_vocab_size() - (tokenizer.token_to_id("<image>") is not None)
        if not 0 <= sizes.pad < sizes.vocabulary:
            raise OvssError(f"pad_token_id {sizes.pad} is not one of {sizes.vocabulary} embeddings")
        if known > sizes.vocabulary:
            raise OvssError(
                f"the tokenizer has {known} entries for {sizes.vocabulary} embeddings; it belongs "
                "to another model"
            )

    @staticmethod
    def _network(model: Any) -> Any:
        """The module that computes; it is frozen and kept as `model`."""
        return model

    @abstractmethod
    def _set_up(self) -> Sizes:
        """Prepare `model` and what else the family keeps."""

    @abstractmethod
    def _read(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], layers: Sequence[int], gradient: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Read texts against images and watch some layers; they exist.

        Args:
            tokens: (R, 1+P, D) image tokens.
            texts: R texts.
            layers: Layers to watch, counted from 1.
            gradient: Whether the graph from attentions to logits is kept.

        Returns:
            Logits (R, 2), and an attention (R, A, T, 1+P) for each watched layer.
        """

    @abstractmethod
    def tokenize(self, text: str) -> Tokens:
        """Split a text into tokens, special ones included."""

    @abstractmethod
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) to image tokens (B, 1+P, D), the class token first."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.model.parameters()).dtype

    def preprocess(self, images: Sequence[Image.Image], size: int | None = None) -> torch.Tensor:
        """Squash images to squares (bicubic) and normalise them.

        Args:
            images: B images in mode RGB, of any size.
            size: Side S in pixels, a multiple of the patch; None takes `image_size`.

        Returns:
            (B, 3, S, S) float32 on the model's device.

        Raises:
            OvssError: The side is not a multiple of the patch.
        """
        side, mean, std = size or self.image_size, self.image_mean, self.image_std
        return squash(images, side, self.patch_size, mean, std).to(self.device)

    @own_state()
    def match(
        self,
        tokens: torch.Tensor,
        texts: Sequence[Tokens],
        layer: int,
        *,
        gradient: bool = False,
    ) -> Match:
        """Match texts against images, one to one.

        Shorter texts are padded, and the padding masked.

        Args:
            tokens: (R, 1+P, D) image tokens, as `encode_images` gives them.
            texts: R texts.
            layer: Layer whose text-to-image attention is returned, 1 to L.
            gradient: Whether the graph from attention to logits is kept.

        Returns:
            Logits (R, 2) and attention (R, A, T, 1+P), T the longest text's length.

        Raises:
            OvssError: The layer does not exist, or the family sees that the tokens are another
                model's.
        """
        check_layer(layer, self)
        logits, (attention,) = self._read(tokens, texts, (layer,), gradient)
        return Match(logits=logits, attention=attention)

    @own_state()
    def match_layers(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], *, gradient: bool = True
    ) -> LayerMatch:
        """Match texts against images, one to one, and watch every layer.

        One pass (and one backward pass) gives for each layer what `match` gives for it alone:
        the derivative of a logit by one layer's probabilities is the whole one, through all later
        layers. Only the first layer's probabilities are a leaf of the graph.

        Args:
            tokens: (R, 1+P, D) image tokens, as `encode_images` gives them.
            texts: R texts.
            gradient: Whether the graph from attentions to logits is kept.

        Returns:
            Logits (R, 2) and L attentions (R, A, T, 1+P), T the longest text's length.

        Raises:
            OvssError: The family does not offer this, or sees that the tokens are another model's.
        """
        layers = range(1, self.layers + 1)
        logits, attention = self._read(tokens, texts, layers, gradient)
        return LayerMatch(logits=logits, attention=tuple(attention))

    def _check_width(self, tokens: torch.Tensor, width: int) -> None:
        """Raise an `OvssError` unless image tokens (R, 1+P, D) have this many features."""
        if tokens.shape[-1] != width:
            raise OvssError(
                f"image tokens of shape {tuple(tokens.shape)} are not from {self.name}, whose "
                f"tokens have {width} features"
            )
