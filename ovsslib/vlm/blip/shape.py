"""Size of a BLIP network, read from transformers' `config.json` without importing either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovsslib.vlm.sizes import EncoderShape, count, encoder, part_of, token_id


@dataclass(frozen=True)
class BlipShape:
    """Size of the network. `image_size` and `patch` are in pixels.

    Attributes:
        image: The image encoder.
        text: The text encoder.
        image_size: Side of the square images it was trained with.
        patch: Side of a patch.
        vocabulary: Number of token embeddings.
        positions: Most tokens in a text.
        pad: Id of the padding token.
        shared: Width of the space of the contrastive heads (kept, but not used for matching).
    """

    image: EncoderShape
    text: EncoderShape
    image_size: int
    patch: int
    vocabulary: int
    positions: int
    pad: int
    shared: int

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> BlipShape:
        """Read a `config.json` of transformers; what it leaves out has transformers' defaults.

        Raises:
            OvssError: A field has the wrong type or range, the heads do not divide the width, or
                the activation is not GELU.

        Example:
            >>> BlipShape.from_dict({"vision_config": {"patch_size": 8}}).patch
            8
        """
        vision, text = part_of(config, "vision_config"), part_of(config, "text_config")
        return cls(
            image=encoder(vision, "vision_config", heads=12, eps=1e-5),
            text=encoder(text, "text_config", heads=8, eps=1e-12),
            image_size=count(vision, "image_size", 384),
            patch=count(vision, "patch_size", 16),
            vocabulary=count(text, "vocab_size", 30524),
            positions=count(text, "max_position_embeddings", 512),
            pad=token_id(text.get("pad_token_id") or 0),
            shared=count(config, "image_text_hidden_size", 256),
        )
