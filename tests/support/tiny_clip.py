"""A small CLIP in open_clip's format, of any depth, and plain ways to run its layers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from ovsslib.paths import data
from ovsslib.peers.tower import Tower


def tiny(folder: Path, layers: int = 12, side: int = 32) -> Tower:
    """A CLIP for images of a side in pixels whose encoder has layers of width 16 with 2 heads.

    Its weights come from a formula, not from a generator: figures can be recorded for them.
    """
    shutil.copytree(data("checkpoints", "micro-clip"), folder)
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"]["embed_dim"] = 12
    config["model_cfg"]["vision_cfg"] = {
        "image_size": side, "patch_size": 8, "width": 16, "layers": layers, "head_width": 8,
    }  # fmt: skip
    config["model_cfg"]["text_cfg"] |= {"width": 16, "heads": 2, "layers": 1}
    config["preprocess_cfg"]["size"] = side
    file.write_text(json.dumps(config))
    with torch.no_grad():
        model = open_clip.CLIP(**config["model_cfg"])
        for index, (name, values) in enumerate(model.named_parameters()):
            if name == "logit_scale":
                continue
            places = torch.arange(values.numel(), dtype=torch.float64)
            waves = 0.4 * torch.cos(0.37 * places**2 + index).view_as(values)
            is_scale = name.rpartition(".")[0].rpartition(".")[2].startswith("ln_")
            values.copy_(waves + (1.0 if is_scale and name.endswith("weight") else 0.0))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return Tower(str(folder), "cpu")


def pattern(count: int = 2, side: int = 32) -> Tensor:
    """Images (B, 3, S, S) as an encoder takes them, by a formula."""
    places = torch.arange(count * 3 * side * side, dtype=torch.float64)
    return torch.sin(0.11 * places + 0.002 * places**1.5).view(count, 3, side, side).float()


def heads(block: Any, tokens: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
    """Normalised tokens (N, D) of one image, and for each head queries, keys, values (N, d)."""
    inner, attention = block.ln_1(tokens), block.attn
    packed = inner @ attention.in_proj_weight.T + attention.in_proj_bias
    width, d = attention.embed_dim, attention.embed_dim // attention.num_heads
    return inner, [
        [packed[:, part * width + start :][:, :d] for part in range(3)]
        for start in range(0, width, d)
    ]


def naive_second_path(
    tower: Tower, pixels: Tensor, count: int, mix: Callable[..., Tensor]
) -> Tensor:
    """Unit features (B, P, E) of a path beside the last layers, image by image, head by head.

    Args:
        tower: Of open_clip.
        pixels: (B, 3, S, S).
        count: Layers that have the path.
        mix: From normalised tokens (N, D) and a head's queries, keys and values (N, d) to what it
            reads, (N, d).
    """
    vision, found = tower.model.visual, []
    blocks = vision.transformer.resblocks
    with torch.no_grad():
        for image in pixels:
            tokens = vision._embeds(image[None])[0]
            for block in blocks[: len(blocks) - count]:
                tokens = block(tokens[None])[0]
            path = tokens.clone()
            for block in blocks[len(blocks) - count :]:
                inner, each = heads(block, tokens)
                read = torch.cat([mix(inner, *qkv) for qkv in each], dim=1)
                path = path + block.attn.out_proj(read)
                tokens = block(tokens[None])[0]
            found.append((vision.ln_post(path) @ vision.proj)[1:])
    return normalize(torch.stack(found), dim=-1)
