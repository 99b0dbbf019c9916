"""CLIP in transformers' format as a `ovsslib.peers.tower.Tower`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError
from ovsslib.filters.clip import open_clip_folder
from ovsslib.io.download import hub_folder
from ovsslib.io.files import read_text
from ovsslib.peers.parts import Block, Parts
from ovsslib.vlm.finite import check_weights
from ovsslib.vlm.state import own_state

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


@own_state()
def load(place: Path, device: torch.device) -> tuple[Any, Callable[[Sequence[str]], Tensor]]:
    """Model and encoder of texts.

    Args:
        place: From `folder`.
        device: Where to.

    Returns:
        The `CLIPModel`, and a function from N texts to unit features (N, E).

    Raises:
        OvssError: The files are damaged.
    """
    from transformers import AutoTokenizer, CLIPModel

    try:
        model = CLIPModel.from_pretrained(place, local_files_only=True).to(device).eval()
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
    except Exception as error:  # damaged files make libraries raise whatever they hit upon
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OvssError(f"{place}: the CLIP cannot be loaded ({reason})") from error
    check_weights(model, str(place))
    model.requires_grad_(requires_grad=False)

    def encode(texts: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(texts), 64):
            some = list(texts[start : start + 64])
            rows = tokenizer(some, padding=True, truncation=True, return_tensors="pt").to(device)
            states = model.text_model(**rows).pooler_output
            parts.append(F.normalize(model.text_projection(states), dim=-1))
        return torch.cat(parts)

    return model, encode


def parts(model: Any, name: str) -> Parts:
    """The image encoder of transformers' `CLIPModel`, in parts.

    The colours are OpenAI's, which is what the class is for.

    Args:
        model: From `load`.
        name: Not used: every model of this class is a plain vision transformer.
    """
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    del name
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
        project=lambda tokens: model.visual_projection(vision.post_layernorm(tokens).float()),
        mean=OPENAI_DATASET_MEAN,
        std=OPENAI_DATASET_STD,
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
