"""BridgeTower image-text matching as a matcher; reads checkpoints in transformers' format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ovsslib.errors import OvssError
from ovsslib.vlm.bridgetower.net import BridgeTowerNet, used_weights
from ovsslib.vlm.bridgetower.shape import BridgeTowerShape
from ovsslib.vlm.inputs import load_tokenizer, pad_texts, read_processor
from ovsslib.vlm.matcher import Matcher
from ovsslib.vlm.protocol import Tokens
from ovsslib.vlm.weights import fill, read_weights


class BridgeTowerMatcher(Matcher):
    """A frozen BridgeTower that scores image-text pairs and shows where each token looked.

    Its layers are the N cross-modal layers (six in the published models), and the attention is that
    of their text side: from words to patches. Nothing after the last layer's cross-attention mixes
    tokens, so there the derivative of the match is 0 for every token but `<s>`.

    A match runs the text encoder and the cross-modal layers. It takes image tokens (R, 1+P, N*D)
    and refuses those of another width as another model's.

    Images are squashed. The model's own processor cuts a square out of the middle instead, which
    would leave the image's ends without a label. The other arguments are those of
    `Matcher`.

    Args:
        model: The network, a `BridgeTowerNet` or transformers'
            `BridgeTowerForImageAndTextRetrieval` (whose tensors a `BridgeTowerNet` then
            shares); its weights are frozen here.
        tokenizer: The `tokenizers.Tokenizer` of its text encoder.

    Raises:
        OvssError: The tokenizer has more tokens than the model has embeddings.
    """

    family = "bridgetower"

    @staticmethod
    def _network(model: Any) -> Any:
        return model if isinstance(model, BridgeTowerNet) else _as_net(model)

    def _set_up(self, shape: BridgeTowerShape) -> None:
        self.layers = shape.cross
        self._width = shape.cross * shape.text.width
        self._unk = self.tokenizer.token_to_id("<unk>")
        known = self.tokenizer.get_vocab_size()
        if known > shape.vocabulary:
            raise OvssError(
                f"the tokenizer has {known} entries for {shape.vocabulary} embeddings; it belongs "
                "to another model"
            )

    @property
    def image_encoder(self) -> torch.nn.Module:
        """What `ovsslib.vlm.int8.quantise_matcher` turns to integers."""
        return self.model.bridgetower.vision_model

    def tokenize(self, text: str) -> Tokens:
        """Split a text into byte-level tokens, `<s>` and `</s>` included.

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

    def _read(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], layers: Sequence[int], gradient: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        self._check_width(tokens, self._width)
        ids, mask = pad_texts(texts, self._pad)
        mask = None if mask is None else mask.to(self.device)
        # Frozen weights and detached images: no graph exists below the watched probabilities.
        with torch.set_grad_enabled(gradient):
            return self.model.read(ids.to(self.device), mask, tokens.detach(), layers, gradient)


def _trim(text: str, start: int, stop: int) -> tuple[int, int]:
    """The range without white space at its ends.

    Example:
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
        folder: Holds `config.json`, the weights, the tokenizer and the processor's settings.
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
