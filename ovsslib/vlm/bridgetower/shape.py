"""Size of a BridgeTower network, read from transformers' `config.json` without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.lookup import unknown
from ovsslib.vlm.sizes import EncoderShape, count, encoder, epsilon, part_of, token_id

LINKS = ("add", "scaled_add", "interpolate")
# An image encoder has one head for this much of its width (CLIP's rule, fixed in the architecture).
_HEAD_WIDTH = 64


@dataclass(frozen=True)
class BridgeTowerShape:
    """Size of the network. `image_size` and `patch` are in pixels.

    Attributes:
        image: The image encoder.
        text: The text encoder; cross-modal layers have its width, heads and MLPs.
        cross: Number of cross-modal layers, L.
        eps: What the norms between encoders and cross-modal layers add to the variance.
        image_size: Side of the square images it was trained with.
        patch: Side of a patch.
        vocabulary: Number of token embeddings.
        places: Number of position embeddings; the first `pad + 1` belong to no token.
        types: Number of token type embeddings, of which the first is used.
        pad: Id of the padding token.
        link: How an encoder layer's output joins the cross-modal stream, one of `LINKS`.
        shared_transform: Whether all cross-modal layers share the map from the encoders' width.
    """

    image: EncoderShape
    text: EncoderShape
    cross: int
    eps: float
    image_size: int
    patch: int
    vocabulary: int
    places: int
    types: int
    pad: int
    link: str
    shared_transform: bool

    @property
    def first(self) -> int:
        """Number of the encoder layer (from 1) whose output the first cross-modal layer takes."""
        return self.text.layers - self.cross + 1

    @property
    def positions(self) -> int:
        """Most tokens in a text: RoBERTa counts positions from `pad + 1`."""
        return self.places - self.pad - 1

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> BridgeTowerShape:
        """Read a `config.json` of transformers; what it leaves out has transformers' defaults.

        Raises:
            OvssError: A field has the wrong type or range, parts do not fit each other, or the
                variant is one that transformers cannot run either.

        Example:
            >>> BridgeTowerShape.from_dict({"vision_config": {"image_size": 224}}).image_size
            224
        """
        vision, words = part_of(config, "vision_config"), part_of(config, "text_config")
        width, layers = count(vision, "hidden_size", 768), count(vision, "num_hidden_layers", 12)
        layers -= bool(vision.get("remove_last_layer"))
        heads = max(1, width // _HEAD_WIDTH)
        image = EncoderShape(width, 4 * width, layers, heads, epsilon(vision, 1e-5))
        pad = words.get("pad_token_id")
        shape = cls(
            image=image,
            text=encoder(words, "text_config", heads=12, eps=1e-5),
            cross=count(config, "num_hidden_layers", 6),
            eps=epsilon(config, 1e-5),
            image_size=count(vision, "image_size", 288),
            patch=count(vision, "patch_size", 16),
            vocabulary=count(words, "vocab_size", 50265),
            places=count(words, "max_position_embeddings", 514),
            types=count(words, "type_vocab_size", 1),
            pad=token_id(1 if pad is None else pad),
            link=config.get("link_tower_type", "add"),
            shared_transform=bool(config.get("share_cross_modal_transformer_layers", True)),
        )
        shape._check(count(config, "hidden_size", 768), config)
        return shape

    def _check(self, width: int, config: Mapping[str, Any]) -> None:
        """Raise unless the parts fit each other."""
        if self.image.width % self.image.heads:
            raise OvssError(
                f"vision_config: {self.image.heads} heads do not divide a width of "
                f"{self.image.width}"
            )
        if width != self.text.width:
            raise OvssError(
                f"the cross-modal width {width} is not the text encoder's {self.text.width}"
            )
        if not self.cross <= self.text.layers <= self.image.layers:
            raise OvssError(
                f"{self.cross} cross-modal layers need as many text layers or more, and these as "
                f"many image layers; the model has {self.text.layers} and {self.image.layers}"
            )
        if self.positions < 2:
            raise OvssError(f"{self.places} position embeddings leave no room for a text")
        if self.link not in LINKS:
            raise unknown("link_tower_type", self.link, LINKS)
        if config.get("share_link_tower_layers"):
            raise OvssError("share_link_tower_layers is not supported (nor by transformers)")
