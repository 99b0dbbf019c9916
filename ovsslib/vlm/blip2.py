"""BLIP-2 image-text matching as a matcher; reads checkpoints in transformers' format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer

from ovsslib.errors import OvssError
from ovsslib.vlm.base import LayerMatch, Match, Tokens
from ovsslib.vlm.blip2_net import Blip2Net, used_weights
from ovsslib.vlm.blip2_shape import Blip2Shape
from ovsslib.vlm.inputs import (
    CLIP_MEAN,
    CLIP_STD,
    check_layer,
    load_tokenizer,
    pad_texts,
    read_processor,
    squash,
    triple,
)
from ovsslib.vlm.weights import fill, read_weights


class Blip2Matcher:
    """A frozen BLIP-2 that scores image-text pairs and shows what each token saw by its queries.

    No word of BLIP-2 looks at the picture: Q query tokens do (32 in the published models), and
    words look at queries. The attention given here is composed of both,
    ``sum over q of self(t, q) * cross(q, p)``: ``cross`` is the chosen layer's cross-attention,
    head by head, and ``self`` the next layer's self-attention, the mean over its heads. A row sums
    to the share of the word's attention that goes to queries, at most 1. Layers are those with
    cross-attention (six in the published models: the Q-Former's 1st, 3rd, ... 11th).

    The gradient by it is, for word t and patch p, the mean over queries of the match logit's
    derivative by ``cross(q, p)``, weighted by each query's part of the sum. So attention times
    gradient is ``sum over q of self(t, q) * cross(q, p) * d logit / d cross(q, p)``.

    Args:
        model: The network, a :class:`Blip2Net` or transformers' ``Blip2ForImageTextRetrieval``
            (whose tensors a :class:`Blip2Net` then shares); its weights are frozen here. In half
            precision all but the image encoder is made float32.
        tokenizer: The ``tokenizers.Tokenizer`` of the Q-Former.
        name: What to call it in results.
        image_mean: Means of the red, green and blue channel, on a scale of 0 to 1.
        image_std: Their standard deviations.
        image_size: Side of the square input in pixels; None takes the model's own.

    Raises:
        OvssError: The tokenizer has more tokens than the model has embeddings.
    """

    family = "blip2"

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        name: str = "blip2",
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        image_size: int | None = None,
    ) -> None:
        net = model if isinstance(model, Blip2Net) else _as_net(model)
        pixels = net.vision_model.embeddings.patch_embedding.weight
        self.model = net.place(pixels.device, pixels.dtype).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        shape = net.shape
        self.layers: int = shape.maps
        self.heads: int = shape.text.heads
        self.max_tokens: int = shape.positions
        self.patch_size: int = shape.patch
        self.image_size: int = image_size or shape.image_size
        self.image_mean = triple(image_mean)
        self.image_std = triple(image_std)
        self._width = shape.image.width
        self._pad = shape.pad
        unknown = tokenizer.token_to_id("[UNK]")
        self._unk: int = self._pad if unknown is None else unknown
        # transformers' processor adds a place holder for pictures, which no embedding belongs to.
        known = tokenizer.get_vocab_size() - (tokenizer.token_to_id("<image>") is not None)
        if known > shape.vocabulary:
            raise OvssError(
                f"the tokenizer has {known} entries for {shape.vocabulary} embeddings; it belongs "
                "to another model"
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.itm_head.weight.device

    @property
    def image_encoder(self) -> torch.nn.Module:
        """What :func:`ovsslib.vlm.int8.quantise_matcher` turns to integers."""
        return self.model.vision_model

    @property
    def dtype(self) -> torch.dtype:
        """The type of the image encoder's weights, and of image tokens."""
        return self.model.vision_model.embeddings.patch_embedding.weight.dtype

    def preprocess(self, images: Sequence[Image.Image], size: int | None = None) -> torch.Tensor:
        """Squash pictures to squares (bicubic) and normalise them.

        Args:
            images: B pictures in mode RGB, of any size.
            size: Side S in pixels, a multiple of the patch; None takes ``image_size``.

        Returns:
            (B, 3, S, S) float32 on the model's device.

        Raises:
            OvssError: The side is not a multiple of the patch.
        """
        side, mean, std = size or self.image_size, self.image_mean, self.image_std
        return squash(images, side, self.patch_size, mean, std).to(self.device)

    def tokenize(self, text: str) -> Tokens:
        """Split a text into tokens, ``[CLS]`` and ``[SEP]`` included."""
        encoding = self.tokenizer.encode(text)
        # The place holder for pictures, if a text spells it, is a word like any unknown one.
        rows = self.model.shape.vocabulary
        ids = tuple(self._unk if token >= rows else token for token in encoding.ids)
        return Tokens(
            ids=ids,
            offsets=tuple(encoding.offsets),
            special=tuple(bool(flag) for flag in encoding.special_tokens_mask),
            unknown=tuple(token == self._unk for token in ids),
        )

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the image encoder.

        Args:
            pixels: (B, 3, S, S) normalised pixels; S a multiple of the patch. Position
                embeddings are interpolated (bicubic) where S is not the training size.

        Returns:
            (B, 1+P, D) image tokens, the class token first.
        """
        return self.model.vision_model(pixels.to(self.device, self.dtype))

    def match(
        self,
        tokens: torch.Tensor,
        texts: Sequence[Tokens],
        layer: int,
        *,
        gradient: bool = False,
    ) -> Match:
        """Match texts against images, one to one.

        The text is read as transformers and LAVIS read it, ``[CLS]`` first. Shorter texts are
        padded, and the padding masked.

        Args:
            tokens: (R, 1+P, D) image tokens.
            texts: R texts.
            layer: Which of the layers with cross-attention is read, 1 to L.
            gradient: Whether the graph from attention to logits is kept.

        Returns:
            Logits (R, 2) and composed attention (R, A, T, 1+P), T the longest text's length; 0 for
            padding. In half precision both are float32.

        Raises:
            OvssError: The layer does not exist, or the tokens are another model's.
        """
        check_layer(layer, self)
        if tokens.shape[-1] != self._width:
            raise OvssError(
                f"image tokens of shape {tuple(tokens.shape)} are not from {self.name}, whose "
                f"tokens have {self._width} features"
            )
        ids, mask = pad_texts(texts, self._pad)
        mask = None if mask is None else mask.to(self.device)
        # Frozen weights and detached images: no graph exists below the composed attention.
        with torch.set_grad_enabled(gradient):
            logits, attention = self.model(
                ids.to(self.device), mask, tokens.detach(), layer, gradient
            )
        return Match(logits=logits, attention=attention)

    def match_layers(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], *, gradient: bool = True
    ) -> LayerMatch:
        """Not offered: the composed attentions of several layers share no graph.

        Raises:
            OvssError: Always.
        """
        del tokens, texts, gradient
        raise OvssError(
            f"{self.name}: BLIP-2 does not offer all layers in one pass; read one layer at a time"
        )


def _as_net(model: Any) -> Blip2Net:
    """The plain network with the tensors of transformers' model."""
    with torch.device("meta"):
        net = Blip2Net(Blip2Shape.from_dict(model.config.to_dict()))
    fill(net, used_weights(model.state_dict()), "BLIP-2")
    return net


def load_blip2(folder: Path, name: str, dtype: torch.dtype, device: torch.device) -> Blip2Matcher:
    """Load a checkpoint folder in transformers' format.

    Args:
        folder: Holds ``config.json``, the weights, the tokenizer and the processor's settings.
            Weights of other heads and of a language model are ignored.
        name: What to call the model in results.
        dtype: Type of the image encoder's weights; in half precision the others are float32.
        device: Where to put them.

    Raises:
        OvssError: Weights (such as those of the matching head) or the tokenizer are missing or
            unreadable, or belong to another architecture.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shape = Blip2Shape.from_dict(config)
    except (OvssError, OSError, ValueError, AttributeError) as error:
        raise OvssError(f"{folder / 'config.json'}: {error}") from error
    # On meta no weight is drawn at random, only to be replaced.
    with torch.device("meta"):
        net = Blip2Net(shape)
    fill(net, used_weights(read_weights(folder)), "BLIP-2", where=folder)
    tokenizer = load_tokenizer(folder)
    net = net.place(device, dtype)
    return Blip2Matcher(net, tokenizer, name=name, **read_processor(folder))
