"""BLIP-2 image-text matching as a matcher; reads checkpoints in transformers' format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ovsslib.errors import OvssError
from ovsslib.vlm.blip2.net import Blip2Net, used_weights
from ovsslib.vlm.blip2.shape import Blip2Shape
from ovsslib.vlm.inputs import load_tokenizer, pad_texts, read_processor
from ovsslib.vlm.matcher import Matcher
from ovsslib.vlm.protocol import LayerMatch, Tokens
from ovsslib.vlm.weights import fill, read_weights


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
        model: The network, a `Blip2Net` or transformers' `Blip2ForImageTextRetrieval`
            (whose tensors a `Blip2Net` then shares); its weights are frozen here. In half
            precision all but the image encoder is made float32.
        tokenizer: The `tokenizers.Tokenizer` of the Q-Former.

    Raises:
        OvssError: The tokenizer has more tokens than the model has embeddings.
    """

    family = "blip2"

    @staticmethod
    def _network(model: Any) -> Any:
        net = model if isinstance(model, Blip2Net) else _as_net(model)
        pixels = net.vision_model.embeddings.patch_embedding.weight
        return net.place(pixels.device, pixels.dtype)

    def _set_up(self, shape: Blip2Shape) -> None:
        self.layers = shape.maps
        self._width = shape.image.width
        tokenizer = self.tokenizer
        unknown = tokenizer.token_to_id("[UNK]")
        self._unk: int = self._pad if unknown is None else unknown
        # transformers' processor adds a place holder for images, which no embedding belongs to.
        known = tokenizer.get_vocab_size() - (tokenizer.token_to_id("<image>") is not None)
        if known > shape.vocabulary:
            raise OvssError(
                f"the tokenizer has {known} entries for {shape.vocabulary} embeddings; it belongs "
                "to another model"
            )

    @property
    def image_encoder(self) -> torch.nn.Module:
        """What `ovsslib.vlm.int8.quantise_matcher` turns to integers."""
        return self.model.vision_model

    @property
    def dtype(self) -> torch.dtype:
        """The type of the image encoder's weights, and of image tokens."""
        return self.model.vision_model.embeddings.patch_embedding.weight.dtype

    def tokenize(self, text: str) -> Tokens:
        """Split a text into tokens, `[CLS]` and `[SEP]` included."""
        encoding = self.tokenizer.encode(text)
        # The place holder for images, if a text spells it, is a word like any unknown one.
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

    def _read(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], layers: Sequence[int], gradient: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        self._check_width(tokens, self._width)
        (layer,) = layers
        ids, mask = pad_texts(texts, self._pad)
        mask = None if mask is None else mask.to(self.device)
        # Frozen weights and detached images: no graph exists below the composed attention.
        with torch.set_grad_enabled(gradient):
            logits, attention = self.model(
                ids.to(self.device), mask, tokens.detach(), layer, gradient
            )
        return logits, [attention]


def _as_net(model: Any) -> Blip2Net:
    """The plain network with the tensors of transformers' model."""
    with torch.device("meta"):
        net = Blip2Net(Blip2Shape.from_dict(model.config.to_dict()))
    fill(net, used_weights(model.state_dict()), "BLIP-2")
    return net


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
