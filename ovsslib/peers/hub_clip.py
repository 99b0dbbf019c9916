"""CLIP in transformers' format as a `ovsslib.peers.tower.Tower`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ovsslib.errors import OvssError
from ovsslib.filters.clip import open_clip_folder
from ovsslib.io.download import hub_folder
from ovsslib.io.files import read_text
from ovsslib.peers.hub_tower import HubTower
from ovsslib.peers.parts import Block, Parts

if TYPE_CHECKING:
    from torch import Tensor


def folder(name: str, *, download: bool = False) -> Path | None:
    """The folder of a model in transformers' format; None for open_clip's.

    Args:
        name: A folder or a hub id.
        download: Whether the network may be used for a hub id.
    """
    if open_clip_folder(name) is not None:
        return None
    place = Path(name)
    if not place.is_dir():
        if name.count("/") != 1 or ":" in name or name.startswith((".", "/", "~")):
            return None
        try:
            place = hub_folder(name, download=download)
        except OvssError:
            return None  # whoever asks next says so, with what can be given instead
    config = place / "config.json"
    if (place / "open_clip_config.json").is_file() or not config.is_file():
        return None
    try:
        kind = json.loads(read_text(config)).get("model_type")
    except (ValueError, AttributeError) as error:
        raise OvssError(f"{config}: it cannot be read ({error}); fetch the model again") from error
    if kind != "clip":
        raise OvssError(f"{name}: a model of type {kind!r}, not a CLIP; give another")
    return place


class HubClip(HubTower):
    """CLIP of transformers."""

    what, classes = "CLIP", {"clip": "CLIPModel"}

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features (N, E) of N texts, of any length."""
        found: Tensor = self.model.get_text_features(**self.tokens(texts)).pooler_output
        return found


def parts(hub: HubClip) -> Parts:
    """The image encoder in parts; mean and deviation of the colours are the processor's."""
    model, colours = hub.model, hub.processor.image_processor
    vision = model.vision_model
    embeddings = vision.embeddings
    return Parts(
        side=embeddings.image_size,
        patch=embeddings.patch_size,
        positions=embeddings.position_embedding.weight,
        patches=lambda pixels: embeddings.patch_embedding(pixels).flatten(2).mT,
        start=embeddings.class_embedding,
        first=vision.pre_layrnorm,
        blocks=tuple(_block(layer) for layer in vision.encoder.layers),
        project=lambda tokens: model.visual_projection(vision.post_layernorm(tokens)),
        mean=tuple(colours.image_mean),
        std=tuple(colours.image_std),
    )


def _block(layer: Any) -> Block:
    """A layer of transformers, in parts."""
    attention = layer.self_attn
    maps = attention.q_proj, attention.k_proj, attention.v_proj

    def qkv(tokens: Tensor) -> Tensor:
        each = torch.stack([linear(tokens) for linear in maps])
        return each.unflatten(-1, (attention.num_heads, -1)).transpose(2, 3)

    def whole(tokens: Tensor) -> Tensor:
        found = layer(tokens, None)
        first: Tensor = found[0] if isinstance(found, tuple) else found
        return first

    return Block(
        whole=whole,
        norm=layer.layer_norm1,
        qkv=qkv,
        out=lambda read: attention.out_proj(read.transpose(1, 2).flatten(2)),
        feed=lambda tokens: layer.mlp(layer.layer_norm2(tokens)),
    )
