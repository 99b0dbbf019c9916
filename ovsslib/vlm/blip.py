"""BLIP image-text matching as a matcher; reads checkpoints in transformers' format."""

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
from ovsslib.vlm.blip_net import BlipNet
from ovsslib.vlm.blip_shape import BlipShape
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


class BlipMatcher:
    """A frozen BLIP that scores image-text pairs and shows where each token looked.

    Args:
        model: The network, a :class:`BlipNet` or transformers' ``BlipForImageTextRetrieval`` (whose
            tensors a :class:`BlipNet` then shares); its weights are frozen here.
        tokenizer: The ``tokenizers.Tokenizer`` of its text encoder.
        name: What to call it in results.
        image_mean: Means of the red, green and blue channel, on a scale of 0 to 1.
        image_std: Their standard deviations.
        image_size: Side of the square input in pixels; None takes the model's own.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        name: str = "blip",
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        image_size: int | None = None,
    ) -> None:
        net = self._network(model)
        self.model = net.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        shape = net.shape
        self.layers: int = shape.text.layers
        self.heads: int = shape.text.heads
        self.max_tokens: int = shape.positions
        self.patch_size: int = shape.patch
        self.image_size: int = image_size or shape.image_size
        self.image_mean = triple(image_mean)
        self.image_std = triple(image_std)
        self._enc = _enc_id(tokenizer, shape.vocabulary)
        self._pad = shape.pad
        self._unk = tokenizer.token_to_id("[UNK]")

    @staticmethod
    def _network(model: Any) -> Any:
        """The network that computes: a module with a ``shape`` and an ``itm_head``."""
        return model if isinstance(model, BlipNet) else _as_net(model)

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
        """The type of the weights."""
        return self.model.itm_head.weight.dtype

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
        return Tokens(
            ids=tuple(encoding.ids),
            offsets=tuple(encoding.offsets),
            special=tuple(bool(flag) for flag in encoding.special_tokens_mask),
            unknown=tuple(token == self._unk for token in encoding.ids),
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

        The first text token is replaced by ``[ENC]``, as LAVIS and the original BLIP do (and
        transformers' own forward pass does not). Shorter texts are padded, and the padding masked.

        Args:
            tokens: (R, 1+P, D) image tokens.
            texts: R texts.
            layer: Text layer whose cross-attention is returned, 1 to L.
            gradient: Whether the graph from attention to logits is kept.

        Returns:
            Logits (R, 2) and attention (R, A, T, 1+P), T the longest text's length.

        Raises:
            OvssError: The layer does not exist.
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
            tokens: (R, 1+P, D) image tokens.
            texts: R texts.
            gradient: Whether the graph from attentions to logits is kept.

        Returns:
            Logits (R, 2) and L attentions (R, A, T, 1+P), T the longest text's length.
        """
        layers = range(1, self.layers + 1)
        logits, attention = self._read(tokens, texts, layers, gradient)
        return LayerMatch(logits=logits, attention=tuple(attention))

    def _read(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], watch: Sequence[int], gradient: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits (R, 2) and the watched layers' attentions."""
        ids, mask = pad_texts(texts, self._pad)
        ids[:, 0] = self._enc
        padding = None if mask is None else mask.to(self.device)
        # Frozen weights and detached images: no graph exists below the watched probabilities.
        with torch.set_grad_enabled(gradient):
            hidden, attention = self.model.text_encoder.read(
                ids.to(self.device), padding, tokens.detach(), watch, gradient
            )
            return self.model.itm_head(hidden[:, 0]), attention


def _as_net(model: Any) -> BlipNet:
    """The plain network with the tensors of transformers' model."""
    with torch.device("meta"):
        net = BlipNet(BlipShape.from_dict(model.config.to_dict()))
    fill(net, model.state_dict(), "BLIP")
    return net


def _enc_id(tokenizer: Tokenizer, vocab_size: int) -> int:
    """Id of ``[ENC]``: in the vocabulary, or (hub checkpoints) the last row of the embeddings."""
    known = tokenizer.token_to_id("[ENC]")
    if known is not None:
        return known
    # The hub's tokenizers lack [DEC] and [ENC], which BLIP appended to BERT's vocabulary.
    if vocab_size == tokenizer.get_vocab_size() + 2:
        return vocab_size - 1
    raise OvssError(
        f"the tokenizer has no [ENC] token and {tokenizer.get_vocab_size()} entries for "
        f"{vocab_size} embeddings; this is not a BLIP image-text matching checkpoint"
    )


def load_blip(folder: Path, name: str, dtype: torch.dtype, device: torch.device) -> BlipMatcher:
    """Load a checkpoint folder in transformers' format.

    Args:
        folder: Holds ``config.json``, the weights, the tokenizer and the processor's settings.
        name: What to call the model in results.
        dtype: Type of the weights.
        device: Where to put them.

    Raises:
        OvssError: Weights or the tokenizer are missing or unreadable, or belong to another
            architecture.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shape = BlipShape.from_dict(config)
    except (OvssError, OSError, ValueError, AttributeError) as error:
        raise OvssError(f"{folder / 'config.json'}: {error}") from error
    # On meta no weight is drawn at random, only to be replaced.
    with torch.device("meta"):
        net = BlipNet(shape)
    fill(net, read_weights(folder), "BLIP", where=folder)
    tokenizer = load_tokenizer(folder)
    return BlipMatcher(net.to(device, dtype), tokenizer, name=name, **read_processor(folder))
