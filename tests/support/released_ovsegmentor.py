"""The form of OVSegmentor's released file, small and random, and its formulas; see `released`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, normalize

from support.released import GRID, PATCH, SHARED, TEXT, State, affine, attend, filled, linear, norm


def mlp(name: str, outer: int, inner: int, last: int | None = None) -> dict:
    """Two layers as timm names them."""
    return affine(f"{name}.fc1", inner, outer) | affine(f"{name}.fc2", last or outer, inner)


def ovsegmentor_state(words: int, width: int = 32, tokens: int = 6, groups: int = 3) -> State:
    """What the authors' code keeps of an OVSegmentor with BERT, the parts for training among it."""
    shapes: dict = {"img_encoder.pos_embed": (GRID**2, width), "logit_scale": ()}
    shapes |= affine("img_encoder.patch_embed.proj", width, 3, PATCH, PATCH)
    shapes |= affine("img_encoder.norm", width)
    shapes["img_encoder.layers.0.group_token"] = (1, tokens, width)
    for stage, depth in enumerate((2, 1)):
        for layer in range(depth):
            name = f"img_encoder.layers.{stage}.blocks.{layer}"
            shapes |= affine(f"{name}.norm1", width) | affine(f"{name}.norm2", width)
            shapes |= affine(f"{name}.attn.qkv", 3 * width, width)
            shapes |= affine(f"{name}.attn.proj", width, width)
            shapes |= mlp(f"{name}.mlp", width, 4 * width)
    name = "img_encoder.layers.0.downsample"
    for kind in ("norm_tokens", "norm_post_tokens", "norm_x", "norm_new_x"):
        shapes |= affine(f"{name}.{kind}", width)
    shapes |= mlp(f"{name}.mlp_inter", tokens, width // 2, groups)
    shapes |= mlp(f"{name}.mlp_channels", width, 4 * width)
    for kind in ("q_proj", "k_proj", "v_proj", "proj"):
        shapes |= affine(f"{name}.assign.{kind}", width, width)
        shapes |= affine(f"{name}.pre_assign_attn.attn.{kind}", width, width)
    for kind in ("norm_post", "norm2"):
        shapes |= affine(f"{name}.pre_assign_attn.{kind}", width)
    shapes |= mlp(f"{name}.pre_assign_attn.mlp", width, 4 * width)
    momentum = {k.replace("img_encoder.", "img_encoder_momentum."): shapes[k] for k in shapes}
    shapes |= momentum | {"logit_scale_mask": ()} | affine("bridge_projector.linear_out", 4, 4, 1)
    shapes |= affine("multimodal_groupingblock.blocks.0.norm_x", width)

    bert = "text_encoder.transformer."
    shapes[f"{bert}embeddings.word_embeddings.weight"] = (words, TEXT)
    shapes[f"{bert}embeddings.position_embeddings.weight"] = (20, TEXT)
    shapes[f"{bert}embeddings.token_type_embeddings.weight"] = (2, TEXT)
    shapes |= affine(f"{bert}embeddings.LayerNorm", TEXT)
    shapes |= affine(f"{bert}pooler.dense", TEXT, TEXT)
    for layer in range(2):
        name = f"{bert}encoder.layer.{layer}"
        for kind in ("query", "key", "value"):
            shapes |= affine(f"{name}.attention.self.{kind}", TEXT, TEXT)
        shapes |= affine(f"{name}.attention.output.dense", TEXT, TEXT)
        shapes |= affine(f"{name}.attention.output.LayerNorm", TEXT)
        shapes |= affine(f"{name}.intermediate.dense", 96, TEXT)
        shapes |= affine(f"{name}.output.dense", TEXT, 96)
        shapes |= affine(f"{name}.output.LayerNorm", TEXT)
    for name, outer in (("img_projector", width), ("text_projector", TEXT)):
        shapes |= affine(f"{name}.linear_hidden.0", 40, outer, 1)
        shapes |= affine(f"{name}.linear_hidden.1", 40)
        shapes |= {f"{name}.linear_hidden.1.running_{kind}": (40,) for kind in ("mean", "var")}
        shapes |= affine(f"{name}.linear_out", SHARED, 40, 1)
    state = filled(shapes)
    state["img_encoder.layers.0.group_token"] *= 10
    state["logit_scale"] = torch.tensor(2.0)
    for name in ("img_projector", "text_projector"):
        state[f"{name}.linear_hidden.1.num_batches_tracked"] = torch.tensor(7)
    state[f"{bert}embeddings.position_ids"] = torch.arange(20)[None]
    return state


def two_layers(state: State, name: str, rows: Tensor) -> Tensor:
    """`mlp` with GELU."""
    return linear(state, f"{name}.fc2", gelu(linear(state, f"{name}.fc1", rows)))


def projected(state: State, name: str, rows: Tensor) -> Tensor:
    """Two convolutions over single places with batch normalisation between them."""
    rows = rows @ state[f"{name}.linear_hidden.0.weight"][..., 0].T
    rows = rows + state[f"{name}.linear_hidden.0.bias"]
    middle = f"{name}.linear_hidden.1"
    rows = (rows - state[f"{middle}.running_mean"]) / (state[f"{middle}.running_var"] + 1e-5).sqrt()
    rows = (rows * state[f"{middle}.weight"] + state[f"{middle}.bias"]).relu()
    out = rows @ state[f"{name}.linear_out.weight"][..., 0].T + state[f"{name}.linear_out.bias"]
    return normalize(out, dim=1)


def vit_layer(state: State, name: str, rows: Tensor) -> Tensor:
    """A layer of 8 heads as timm names it."""
    q, k, v = linear(state, f"{name}.attn.qkv", norm(state, f"{name}.norm1", rows)).chunk(3, 1)
    rows = rows + linear(state, f"{name}.attn.proj", attend(q, k, v, 8))
    return rows + two_layers(state, f"{name}.mlp", norm(state, f"{name}.norm2", rows))


def ovsegmentor_groups(state: State, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features (G, E) and (E,), and the share (G, h, w) of pixels (3, S, S)."""
    patch = "img_encoder.patch_embed.proj"
    grid = conv2d(pixels[None], state[f"{patch}.weight"], state[f"{patch}.bias"], stride=PATCH)
    rows = grid[0].flatten(1).T + state["img_encoder.pos_embed"]
    both = torch.cat([rows, state["img_encoder.layers.0.group_token"][0]])
    for layer in range(2):
        both = vit_layer(state, f"img_encoder.layers.0.blocks.{layer}", both)
    name = "img_encoder.layers.0.downsample"
    patches = norm(state, f"{name}.norm_x", both[: GRID**2])
    tokens = norm(state, f"{name}.norm_tokens", both[GRID**2 :])
    groups = norm(
        state, f"{name}.norm_post_tokens", two_layers(state, f"{name}.mlp_inter", tokens.T).T
    )
    look = f"{name}.pre_assign_attn"
    q, k, v = (
        linear(state, f"{look}.attn.{kind}_proj", part)
        for kind, part in zip("qkv", (groups, patches, patches), strict=True)
    )
    groups = groups + linear(state, f"{look}.attn.proj", attend(q, k, v, 8))
    groups = groups + two_layers(state, f"{look}.mlp", norm(state, f"{look}.norm2", groups))
    groups = norm(state, f"{look}.norm_post", groups)
    q, k, v = (
        linear(state, f"{name}.assign.{kind}_proj", part)
        for kind, part in zip("qkv", (groups, patches, patches), strict=True)
    )
    raw = q @ k.T / math.sqrt(q.shape[1])
    best, gathered = raw.argmax(0), []
    for index in range(len(groups)):
        members = v[best == index]
        gathered.append(members.sum(0) / (len(members) + 1))
    new = linear(state, f"{name}.assign.proj", torch.stack(gathered)) + groups
    new = new + two_layers(state, f"{name}.mlp_channels", norm(state, f"{name}.norm_new_x", new))
    out = norm(state, "img_encoder.norm", vit_layer(state, "img_encoder.layers.1.blocks.0", new))
    every = projected(state, "img_projector", torch.cat([out, out.mean(0, keepdim=True)]))
    return every[:-1], every[-1], raw.softmax(0).reshape(-1, GRID, GRID)


def bert_features(state: State, ids: Sequence[int]) -> Tensor:
    """Unit features (E,) of the tokens of one text."""
    bert = "text_encoder.transformer."

    def after(name: str, rows: Tensor) -> Tensor:
        scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
        return layer_norm(rows, scale.shape, scale, shift, eps=1e-12)

    rows = state[f"{bert}embeddings.word_embeddings.weight"][list(ids)]
    rows = rows + state[f"{bert}embeddings.position_embeddings.weight"][: len(ids)]
    rows = rows + state[f"{bert}embeddings.token_type_embeddings.weight"][0]
    rows = after(f"{bert}embeddings.LayerNorm", rows)
    for layer in range(2):
        name = f"{bert}encoder.layer.{layer}"
        q, k, v = (
            linear(state, f"{name}.attention.self.{kind}", rows)
            for kind in ("query", "key", "value")
        )
        read = linear(state, f"{name}.attention.output.dense", attend(q, k, v, 1))
        rows = after(f"{name}.attention.output.LayerNorm", rows + read)
        fed = gelu(linear(state, f"{name}.intermediate.dense", rows))
        rows = after(f"{name}.output.LayerNorm", rows + linear(state, f"{name}.output.dense", fed))
    return projected(state, "text_projector", rows[:1])[0]
