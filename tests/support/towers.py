"""Small CLIPs with random weights, and a plain way to run their last layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ovsslib.datasets import load_dataset
from ovsslib.peers.dense import DenseClip
from ovsslib.peers.tower import Tower


def micro() -> Tower:
    """The shipped micro-clip."""
    return Tower("micro-clip", "cpu")


def some_pixels(tower: Tower, count: int = 2, side: int | None = None) -> Tensor:
    """Images of Diorama as the tower takes them."""
    data = load_dataset("diorama", None, "tune")
    return tower.prepare([data.image(name) for name in data.ids[:count]], side)


def make_hub_clip(folder: Path, side: int = 32, seed: int = 0) -> Path:
    """A small `CLIPModel` of transformers with random weights, and micro-clip's tokenizer."""
    from transformers import (
        AutoTokenizer,
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
    )

    from ovsslib.paths import data

    torch.manual_seed(seed)
    shared = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
    config = CLIPConfig(
        text_config={
            **shared, "num_hidden_layers": 2, "vocab_size": 152, "max_position_embeddings": 40,
            "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0,
        },
        vision_config={
            **shared, "num_hidden_layers": 3, "image_size": side, "patch_size": side // 4,
        },
        projection_dim=24,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    words = AutoTokenizer.from_pretrained(data("checkpoints", "micro-clip"))
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    CLIPProcessor(CLIPImageProcessor(**colours), words).save_pretrained(folder)
    return folder


def naive(
    tower: Tower,
    pixels: Tensor,
    mix: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    residual: bool = False,
    feed: bool = False,
) -> Tensor:
    """Unit features (B, P, E) by a last layer that is written anew: image by image, head by head.

    Args:
        tower: Of open_clip.
        pixels: (B, 3, S, S).
        mix: From queries, keys and values (N, d) of one head to what it reads, (N, d).
        residual: Whether the layer's input is added to that.
        feed: Whether the feed-forward network follows.
    """
    vision, out = tower.model.visual, []
    *early, last = vision.transformer.resblocks
    attention = last.attn
    width, d = attention.embed_dim, attention.embed_dim // attention.num_heads
    with torch.no_grad():
        for image in pixels:
            tokens = vision._embeds(image[None])
            for block in early:
                tokens = block(tokens)
            inner, read = last.ln_1(tokens)[0], torch.zeros(tokens.shape[1], width)
            packed = inner @ attention.in_proj_weight.T + attention.in_proj_bias
            for start in range(0, width, d):
                of_head = [packed[:, part * width + start :][:, :d] for part in range(3)]
                read[:, start : start + d] = mix(*of_head)
            state = last.ls_1(attention.out_proj(read)) + residual * tokens[0]
            if feed:
                state = state + last.ls_2(last.mlp(last.ln_2(state)))
            out.append((vision.ln_post(state) @ vision.proj)[1:])
    return normalize(torch.stack(out), dim=-1)


def unit_features(method: DenseClip, pixels: Tensor) -> Tensor:
    """Unit features (B, P, E) of a method."""
    with torch.no_grad():
        return normalize(method.features(pixels), dim=-1)
