"""The architecture of micro-bridgetower, as a model of transformers with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.miniature.training.bpe import PAD, START, STOP, vocabulary


@dataclass(frozen=True)
class BridgeTowerSize:
    """Architecture of micro-bridgetower.

    Attributes:
        side: Of the square input, in pixels.
        patch: Side of a patch, in pixels.
        width: Of all parts. The image encoder has one head for 64 of it, as the architecture says.
        heads: Of the text encoder and the cross-modal layers.
        text_layers: Of either encoder; more image layers than text layers would be read by nothing.
        cross_layers: Cross-modal layers; each takes the output of another layer of the encoders.
        word_layer: Cross-modal layer whose words the word match is read from.
        positions: Most tokens of a text.

    Raises:
        OvssError: The numbers do not fit each other.
    """

    side: int = 112
    patch: int = 8
    width: int = 128
    heads: int = 4
    text_layers: int = 4
    cross_layers: int = 3
    word_layer: int = 2
    positions: int = 96

    def __post_init__(self) -> None:
        if self.width < 64 or self.width % (self.width // 64) or self.width % self.heads:
            raise OvssError(
                f"width {self.width} does not fit {self.heads} heads and one image head for 64 "
                "features; use a multiple of 64"
            )
        if not 1 <= self.word_layer <= self.cross_layers <= self.text_layers:
            raise OvssError(
                f"{self.cross_layers} cross-modal layers, words read in layer {self.word_layer}, "
                f"do not fit {self.text_layers} text layers; use as many text layers or more"
            )


def build(size: BridgeTowerSize) -> Any:
    """A randomly initialised `BridgeTowerForImageAndTextRetrieval` of the given size."""
    from transformers import BridgeTowerConfig, BridgeTowerForImageAndTextRetrieval

    config = BridgeTowerConfig(
        hidden_size=size.width,
        num_hidden_layers=size.cross_layers,
        num_attention_heads=size.heads,
        text_config={
            "vocab_size": len(vocabulary()),
            "hidden_size": size.width,
            "intermediate_size": 4 * size.width,
            "num_hidden_layers": size.text_layers,
            "num_attention_heads": size.heads,
            "max_position_embeddings": size.positions + PAD + 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "pad_token_id": PAD,
            "bos_token_id": START,
            "eos_token_id": STOP,
        },
        vision_config={
            "hidden_size": size.width,
            "num_hidden_layers": size.text_layers,
            "patch_size": size.patch,
            "image_size": size.side,
        },
    )
    return BridgeTowerForImageAndTextRetrieval(config)
