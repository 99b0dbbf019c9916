"""BLIP image-text matching as a matcher; reads checkpoints in transformers' format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ovsslib.errors import OvssError
from ovsslib.vlm.blip.net import BlipNet
from ovsslib.vlm.inputs import load_tokenizer, pad_texts, read_processor
from ovsslib.vlm.matcher import Matcher, Sizes
from ovsslib.vlm.protocol import Tokens
from ovsslib.vlm.sizes import BlipSizes, read_config
from ovsslib.vlm.state import own_state
from ovsslib.vlm.weights import fill, read_weights


class BlipMatcher(Matcher):
    """A frozen BLIP that scores image-text pairs and shows where each token looked.

    Layers are those of the text encoder. The first token of a text is replaced by `[ENC]` when it
    is matched, as LAVIS and the original BLIP do (and transformers' own forward pass does not).

    The other arguments are those of `Matcher`.

    Args:
        model: The network, a `BlipNet` or transformers' `BlipForImageTextRetrieval` (whose
            tensors a `BlipNet` then shares); its weights are frozen here.
        tokenizer: The `tokenizers.Tokenizer` of its text encoder.

    Raises:
        OvssError: The tokenizer has no `[ENC]`, and does not lack just what BLIP appended.
    """

    family = "blip"

    @staticmethod
    def _network(model: Any) -> Any:
        return model if hasattr(model, "sizes") else _as_net(model)

    def _set_up(self) -> Sizes:
        sizes: BlipSizes = self.model.sizes
        self._enc = _enc_id(self.tokenizer, sizes.vocabulary)
        self._unk = self.tokenizer.token_to_id("[UNK]")
        return Sizes(
            layers=sizes.text.layers,
            heads=sizes.text.heads,
            tokens=sizes.positions,
            patch=sizes.patch,
            image_size=sizes.image_size,
            pad=sizes.pad,
            vocabulary=sizes.vocabulary,
        )

    @property
    def image_encoder(self) -> torch.nn.Module:
        """The part that sees images only; it takes no gradient and can be compiled."""
        return self.model.vision_model

    def tokenize(self, text: str) -> Tokens:
        """Split a text into tokens, `[CLS]` and `[SEP]` included."""
        encoding = self.tokenizer.encode(text)
        return Tokens(
            ids=tuple(encoding.ids),
            offsets=tuple(encoding.offsets),
            special=tuple(bool(flag) for flag in encoding.special_tokens_mask),
            unknown=tuple(token == self._unk for token in encoding.ids),
        )

    @own_state()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the image encoder.

        Args:
            pixels: (B, 3, S, S) normalised pixels; S a multiple of the patch. Position
                embeddings are interpolated (bicubic) where S is not the training size.

        Returns:
            (B, 1+P, D) image tokens, the class token first.
        """
        return self.model.vision_model(pixels.to(self.device, self.dtype))

    def _read(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], layers: Sequence[int], gradient: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        ids, mask = pad_texts(texts, self._pad)
        ids[:, 0] = self._enc
        padding = None if mask is None else mask.to(self.device)
        # Frozen weights and detached images: no graph exists below the watched probabilities.
        with torch.set_grad_enabled(gradient):
            hidden, attention = self.model.text_encoder.read(
                ids.to(self.device), padding, tokens.detach(), layers, gradient
            )
            return self.model.itm_head(hidden[:, 0]), attention


def _as_net(model: Any) -> BlipNet:
    """The plain network with the tensors of transformers' model."""
    with torch.device("meta"):
        net = BlipNet(BlipSizes.from_dict(model.config.to_dict()))
    fill(net, model.state_dict(), "BLIP")
    return net


def _enc_id(tokenizer: Tokenizer, vocab_size: int) -> int:
    """Id of `[ENC]`: in the vocabulary, or (hub checkpoints) the last row of the embeddings."""
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
        folder: Holds `config.json`, the weights, the tokenizer and the processor's settings.
        name: What to call the model in results.
        dtype: Type of the weights.
        device: Where to put them.

    Raises:
        OvssError: Weights or the tokenizer are missing or unreadable, or belong to another
            architecture.
    """
    shape = BlipSizes.from_dict(read_config(folder / "config.json"))
    # On meta no weight is drawn at random, only to be replaced.
    with torch.device("meta"):
        net = BlipNet(shape)
    fill(net, read_weights(folder), "BLIP", where=folder)
    tokenizer = load_tokenizer(folder)
    return BlipMatcher(net.to(device, dtype), tokenizer, name=name, **read_processor(folder))
