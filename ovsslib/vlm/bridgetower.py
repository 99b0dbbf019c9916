"""BridgeTower image-text matching as a matcher; reads checkpoints in transformers' format."""

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
from ovsslib.vlm.bridgetower_net import BridgeTowerNet, used_weights
from ovsslib.vlm.bridgetower_shape import BridgeTowerShape
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


class BridgeTowerMatcher:
    """A frozen BridgeTower that scores image-text pairs and shows where each token looked.

    Its layers are the N cross-modal layers (six in the published models), and the attention is that
    of their text side: from words to patches. Nothing after the last layer's cross-attention mixes
    tokens, so there the derivative of the match is 0 for every token but ``<s>``.

    Args:
        model: The network, a :class:`BridgeTowerNet` or transformers'
            ``BridgeTowerForImageAndTextRetrieval`` (whose tensors a :class:`BridgeTowerNet` then
            shares); its weights are frozen here.
        tokenizer: The ``tokenizers.Tokenizer`` of its text encoder.
        name: What to call it in results.
        image_mean: Means of the red, green and blue channel, on a scale of 0 to 1.
        image_std: Their standard deviations.
        image_size: Side of the square input in pixels; None takes the model's own.

    Raises:
        OvssError: The tokenizer has more tokens than the model has embeddings.
    """

    family = "bridgetower"

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        name: str = "bridgetower",
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        image_size: int | None = None,
    ) -> None:
        net = model if isinstance(model, BridgeTowerNet) else _as_net(model)
        self.model = net.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        shape = net.shape
        self.layers: int = shape.cross
        self.heads: int = shape.text.heads
        self.max_tokens: int = shape.positions
        self.patch_size: int = shape.patch
        self.image_size: int = image_size or shape.image_size
        self.image_mean = triple(image_mean)
        self.image_std = triple(image_std)
        self._width = shape.cross * shape.text.width
        self._pad = shape.pad
        self._unk = tokenizer.token_to_id("<unk>")
        if tokenizer.get_vocab_size() > shape.vocabulary:
            raise OvssError(
                f"the tokenizer has {tokenizer.get_vocab_size()} entries for {shape.vocabulary} "
                "embeddings; it belongs to another model"
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def image_encoder(self) -> torch.nn.Module:
        """What :func:`ovsslib.vlm.int8.quantise_matcher` turns to integers."""
        return self.model.bridgetower.vision_model

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.model.parameters()).dtype

    def preprocess(self, images: Sequence[Image.Image], size: int | None = None) -> torch.Tensor:
        """Squash pictures to squares (bicubic) and normalise them.

        The model's own processor cuts a square out of the middle instead, which would leave the
        picture's ends without a label.

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
        """Split a text into byte-level tokens, ``<s>`` and ``</s>`` included.

        Offsets leave out the space that byte-level tokens carry before a word, whatever the
        tokenizer's own setting; a token that is nothing but space gets an empty range. The tokens
        of a character of several bytes all get that character's range.
        """
        encoding = self.tokenizer.encode(text)
        return Tokens(
            ids=tuple(encoding.ids),
            offsets=tuple(_trim(text, *offsets) for offsets in encoding.offsets),
            special=tuple(bool(flag) for flag in encoding.special_tokens_mask),
            unknown=tuple(token == self._unk for token in encoding.ids),
        )

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the image encoder, and map its outputs to the cross-modal layers' width.

        Each of the N cross-modal layers takes the output of another layer of the image encoder.
        They are stacked along the features, so that one row still is one patch.

        Args:
            pixels: (B, 3, S, S) normalised pixels; S a multiple of the patch. Position
                embeddings are interpolated (bicubic) where S is not the training size.

        Returns:
            (B, 1+P, N*D) image tokens, the class token first; D is the cross-modal width.
        """
        return self.model.encode(pixels.to(self.device, self.dtype))

    def match(
        self,
        tokens: torch.Tensor,
        texts: Sequence[Tokens],
        layer: int,
        *,
        gradient: bool = False,
    ) -> Match:
        """Match texts against images, one to one.

        Runs the text encoder and the cross-modal layers. Shorter texts are padded, and the padding
        masked.

        Args:
            tokens: (R, 1+P, N*D) image tokens, as :meth:`encode_images` gives them.
            texts: R texts.
            layer: Cross-modal layer whose text-to-image attention is returned, 1 to N.
            gradient: Whether the graph from attention to logits is kept.

        Returns:
            Logits (R, 2) and attention (R, A, T, 1+P), T the longest text's length.

        Raises:
            OvssError: The layer does not exist, or the tokens are another model's.
        """
        check_layer(layer, self)
        logits, (attention,) = self._read(tokens, texts, (layer,), gradient)
        return Match(logits=logits, attention=attention)

    def match_layers(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], *, gradient: bool = True
    ) -> LayerMatch:
        """Match texts against images, one to one, and watch every layer.

        One pass (and one backward pass) gives for each layer what :meth:`match` gives for it alone:
        the derivative of a logit by one layer's probabilities is the whole one, through all later
        layers. Only the first layer's probabilities are a leaf of the graph.

        Args:
            tokens: (R, 1+P, N*D) image tokens, as :meth:`encode_images` gives them.
            texts: R texts.
            gradient: Whether the graph from attentions to logits is kept.

        Returns:
            Logits (R, 2) and L attentions (R, A, T, 1+P), T the longest text's length.

        Raises:
            OvssError: The tokens are another model's.
        """
        layers = range(1, self.layers + 1)
        logits, attention = self._read(tokens, texts, layers, gradient)
        return LayerMatch(logits=logits, attention=tuple(attention))

    def _read(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], watch: Sequence[int], gradient: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits (R, 2) and the watched layers' attentions."""
        if tokens.shape[-1] != self._width:
            raise OvssError(
                f"image tokens of shape {tuple(tokens.shape)} are not from {self.name}, whose "
                f"tokens have {self._width} features"
            )
        ids, mask = pad_texts(texts, self._pad)
        mask = None if mask is None else mask.to(self.device)
        # Frozen weights and detached images: no graph exists below the watched probabilities.
        with torch.set_grad_enabled(gradient):
            return self.model.read(ids.to(self.device), mask, tokens.detach(), watch, gradient)


def _trim(text: str, start: int, stop: int) -> tuple[int, int]:
    """The range without white space at its ends.

    >>> _trim("A cat", 1, 5)
    (2, 5)
    """
    while start < stop and text[start].isspace():
        start += 1
    while start < stop and text[stop - 1].isspace():
        stop -= 1
    return start, stop


def _as_net(model: Any) -> BridgeTowerNet:
    """The plain network with the tensors of transformers' model."""
    with torch.device("meta"):
        net = BridgeTowerNet(BridgeTowerShape.from_dict(model.config.to_dict()))
    fill(net, used_weights(model.state_dict()), "BridgeTower")
    return net


def load_bridgetower(
    folder: Path, name: str, dtype: torch.dtype, device: torch.device
) -> BridgeTowerMatcher:
    """Load a checkpoint folder in transformers' format.

    Args:
        folder: Holds ``config.json``, the weights, the tokenizer and the processor's settings.
            Weights of other heads (masked words, contrast) are ignored.
        name: What to call the model in results.
        dtype: Type of the weights.
        device: Where to put them.

    Raises:
        OvssError: Weights (such as those of the matching head) or the tokenizer are missing or
            unreadable, or belong to another architecture.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shape = BridgeTowerShape.from_dict(config)
    except (OvssError, OSError, ValueError, AttributeError) as error:
        raise OvssError(f"{folder / 'config.json'}: {error}") from error
    # On meta no weight is drawn at random, only to be replaced.
    with torch.device("meta"):
        net = BridgeTowerNet(shape)
    fill(net, used_weights(read_weights(folder)), "BridgeTower", where=folder)
    tokenizer = load_tokenizer(folder)
    net = net.to(device, dtype)
    return BridgeTowerMatcher(net, tokenizer, name=name, **read_processor(folder))
