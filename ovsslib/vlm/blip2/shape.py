"""Size of a BLIP-2 network, read from transformers' `config.json` without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.vlm.blip.shape import BlipShape
from ovsslib.vlm.sizes import count, encoder, part_of, token_id

# The published image encoder is EVA's ViT-g; its checkpoints' configs leave these sizes out.
_VIT_G = {"hidden_size": 1408, "intermediate_size": 6144, "num_hidden_layers": 39}


@dataclass(frozen=True)
class Blip2Shape(BlipShape):
    """Size of the network; `text` is the Q-Former, which reads queries and text together.

    Attributes:
        queries: Number of query tokens, Q.
        every: The Q-Former's layers 1, 1 + every, 1 + 2 * every, ... have cross-attention.
    """

    queries: int
    every: int

    @property
    def maps(self) -> int:
        """Number of layers whose attention can be read as a text-to-image map, L.

        Those with cross-attention, but for the very last layer: no word looks at queries after it.
        """
        return len(range(0, self.text.layers - 1, self.every))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Blip2Shape:
        """Read a `config.json` of transformers; what it leaves out has transformers' defaults.

        Raises:
            OvssError: A field has the wrong type or range, parts do not fit each other, or the
                checkpoint has no weights for text (BLIP-2 for captions has none).

        Example:
            >>> sizes = {"use_qformer_text_input": True, "num_hidden_layers": 4}
            >>> Blip2Shape.from_dict({"qformer_config": sizes}).maps
            2
        """
        vision = {**_VIT_G, **part_of(config, "vision_config")}
        text = part_of(config, "qformer_config")
        shape = cls(
            image=encoder(vision, "vision_config", heads=16, eps=1e-6),
            text=encoder(text, "qformer_config", heads=12, eps=1e-12),
            image_size=count(vision, "image_size", 224),
            patch=count(vision, "patch_size", 14),
            vocabulary=count(text, "vocab_size", 30522),
            positions=count(text, "max_position_embeddings", 512),
            pad=token_id(text.get("pad_token_id") or 0),
            shared=count(config, "image_text_hidden_size", 256),
            queries=count(config, "num_query_tokens", 32),
            every=count(text, "cross_attention_frequency", 2),
        )
        if text.get("use_qformer_text_input") is not True:
            raise OvssError(
                "qformer_config: use_qformer_text_input is not set, so this BLIP-2 cannot match "
                "texts; take one for matching, such as Salesforce/blip2-itm-vit-g"
            )
        if vision.get("qkv_bias") is False:
            raise OvssError("vision_config: qkv_bias false is not supported")
        source = count(text, "encoder_hidden_size", 1408)
        if source != shape.image.width:
            raise OvssError(
                f"the Q-Former takes image tokens of width {source}, the image encoder's have "
                f"{shape.image.width}"
            )
        if not shape.maps:
            raise OvssError("a Q-Former of one layer has no word that looks at a query afterwards")
        return shape
