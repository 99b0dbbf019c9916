"""Small DINOs with random weights, in timm's hub format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def make_tiny_dino(folder: Path, patch: int = 8, registers: int = 1, seed: int = 0) -> Path:
    """A vision transformer of 4 heads for images of 32 pixels, saved as timm saves models."""
    import timm
    from timm.models import save_for_hf

    shape = {
        "img_size": 32, "patch_size": patch, "embed_dim": 32, "depth": 2, "num_heads": 4,
        "num_classes": 0, "reg_tokens": registers,
    }  # fmt: skip
    colours = {"mean": MEAN, "std": STD, "input_size": (3, 32, 32)}
    model = timm.create_model("vit_tiny_patch16_224", pretrained_cfg_overlay=colours, **shape)
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        # Freshly made ones are so small that all patches look alike.
        gain = "norm" in name and name.endswith("weight")
        torch.nn.init.normal_(weight, float(gain), 0.5 if weight.ndim > 1 else 0.1)
    save_for_hf(model, str(folder), model_args=shape, safe_serialization=True)
    return folder


def naive_last_layer(model: Any, colours: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (P, D) and queries, keys, values (3, A, P, d) of one image, written anew.

    Args:
        model: timm's, with one class token and any number of registers, at its own image size.
        colours: (3, S, S) in 0..1.
    """
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    patches = model.patch_embed.proj(((colours - mean) / std)[None])[0].flatten(1).T
    start = torch.cat([model.cls_token[0], *([model.reg_token[0]] if model.num_prefix_tokens > 1
                                             else [])])  # fmt: skip
    tokens = torch.cat([start, patches]) + model.pos_embed[0]
    for block in model.blocks[:-1]:
        tokens = block(tokens[None])[0]
    last = model.blocks[-1]
    attention = last.attn
    rows = last.norm1(tokens) @ attention.qkv.weight.T + attention.qkv.bias
    width, heads = rows.shape[1] // 3, attention.num_heads
    d = width // heads
    parts = torch.stack(
        [
            torch.stack([rows[:, part * width + head * d :][:, :d] for head in range(heads)])
            for part in range(3)
        ]
    )
    first = model.num_prefix_tokens
    return model.norm(last(tokens[None]))[0, first:], parts[:, :, first:]


def units(vectors: Tensor) -> Tensor:
    """Values of all heads (A, P, d) side by side, as unit vectors (P, D)."""
    return normalize(torch.cat(list(vectors), dim=-1), dim=-1)
