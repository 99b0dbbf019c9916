"""Files of the form that authors of trained systems released, small and random, and their formulas.

Everything here works on the authors' own names, so that a weight that is read under a wrong name
or turned the wrong way shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import open_clip
import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, normalize

State = dict[str, Tensor]
WIDTH, TEXT, SHARED, PATCH, GRID = 128, 64, 24, 8, 4
SIDE = PATCH * GRID
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def filled(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> State:
    """Random tensors; scales of normalisations are around 1."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes.items():
        values = 0.1 * torch.randn(tuple(shape), generator=generator)
        around = name.endswith((".weight", ".running_var")) and len(shape) == 1
        out[name] = values + 1 if around else values
    return out


def affine(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """Weight of a shape, and bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def clip_block(name: str, width: int, norms: Sequence[str] = ("ln_1", "ln_2")) -> dict:
    """A layer as OpenAI's CLIP names it."""
    shapes: dict = {f"{name}.attn.in_proj_weight": (3 * width, width)}
    shapes[f"{name}.attn.in_proj_bias"] = (3 * width,)
    for norm in norms:
        shapes |= affine(f"{name}.{norm}", width)
    shapes |= affine(f"{name}.attn.out_proj", width, width)
    shapes |= affine(f"{name}.mlp.c_fc", 4 * width, width)
    return shapes | affine(f"{name}.mlp.c_proj", width, 4 * width)


def clip_image(layers: int) -> dict:
    """The image encoder of OpenAI's CLIP without its layers' places."""
    shapes: dict = {
        "class_embedding": (WIDTH,),
        "positional_embedding": (1 + GRID**2, WIDTH),
        "conv1.weight": (WIDTH, 3, PATCH, PATCH),
        **affine("ln_pre", WIDTH),
    }
    for layer in range(layers):
        shapes |= clip_block(f"transformer.resblocks.{layer}", WIDTH)
    return shapes


def clip_text(layers: int = 2) -> dict:
    """The text encoder of OpenAI's CLIP, for texts of 16 tokens."""
    shapes: dict = {
        "positional_embedding": (16, TEXT),
        "text_projection": (TEXT, SHARED),
        "token_embedding.weight": (49408, TEXT),
        **affine("ln_final", TEXT),
    }
    for layer in range(layers):
        shapes |= clip_block(f"transformer.resblocks.{layer}", TEXT)
    return shapes


def prefixed(prefix: str, shapes: Mapping[str, Sequence[int]]) -> dict:
    return {prefix + name: shape for name, shape in shapes.items()}


def norm(state: State, name: str, rows: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return layer_norm(rows, weight.shape, weight, state[f"{name}.bias"])


def linear(state: State, name: str, rows: Tensor) -> Tensor:
    return rows @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def quick(values: Tensor) -> Tensor:
    return values * torch.sigmoid(1.702 * values)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """What queries (M, D) read of keys and values (N, D), head by head."""
    d, out = q.shape[1] // heads, []
    for start in range(0, q.shape[1], d):
        own = slice(start, start + d)
        logits = q[:, own] @ k[:, own].T / math.sqrt(d)
        if mask is not None:
            logits = logits + mask
        out.append(logits.softmax(-1) @ v[:, own])
    return torch.cat(out, dim=1)


def packed(state: State, name: str, rows: Tensor, others: Tensor) -> tuple[Tensor, ...]:
    """Queries of rows, keys and values of others, of an attention of torch."""
    weights = state[f"{name}.in_proj_weight"].chunk(3)
    biases = state[f"{name}.in_proj_bias"].chunk(3)
    q, k, v = (
        part @ w.T + b for part, w, b in zip((rows, others, others), weights, biases, strict=True)
    )
    return q, k, v


def clip_layer(
    state: State, name: str, rows: Tensor, *, own: bool = False, mask: Tensor | None = None
) -> Tensor:
    """A layer of OpenAI's CLIP on tokens (N, D); with `own` each token reads itself only."""
    normed = norm(state, f"{name}.ln_1", rows)
    q, k, v = packed(state, f"{name}.attn", normed, normed)
    read = v if own else attend(q, k, v, rows.shape[1] // 64, mask)
    rows = rows + linear(state, f"{name}.attn.out_proj", read)
    inner = quick(linear(state, f"{name}.mlp.c_fc", norm(state, f"{name}.ln_2", rows)))
    return rows + linear(state, f"{name}.mlp.c_proj", inner)


def clip_tokens(state: State, name: str, pixels: Tensor) -> Tensor:
    """Tokens (1 + P, D) that enter the first layer, of pixels (3, S, S)."""
    grid = conv2d(pixels[None], state[f"{name}conv1.weight"], stride=PATCH)[0]
    rows = torch.cat([state[f"{name}class_embedding"][None], grid.flatten(1).T])
    return norm(state, f"{name}ln_pre", rows + state[f"{name}positional_embedding"])


def clip_texts(state: State, name: str, texts: Sequence[str], layers: int = 2) -> Tensor:
    """Unit features (K, E) of texts."""
    out = []
    for row in open_clip.SimpleTokenizer(context_length=16)(list(texts)):
        tokens = state[f"{name}token_embedding.weight"][row] + state[f"{name}positional_embedding"]
        mask = torch.full((16, 16), -math.inf).triu(1)
        for layer in range(layers):
            tokens = clip_layer(state, f"{name}transformer.resblocks.{layer}", tokens, mask=mask)
        last = norm(state, f"{name}ln_final", tokens)[row.argmax()]
        out.append(normalize(last @ state[f"{name}text_projection"], dim=0))
    return torch.stack(out)


def picture(side: int = SIDE) -> np.ndarray:
    """An image of the size of training, so that nothing is resized."""
    return np.random.default_rng(3).integers(0, 256, (side, side, 3), dtype=np.uint8)


def pixels_of(image: np.ndarray, colours: tuple) -> Tensor:
    """Pixels (3, S, S) less the mean, over the deviation."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in colours)
    return (torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / std


def group_planes(
    groups: Tensor, whole: Tensor, shares: Tensor, texts: Tensor, scale: float, top: int = 5
) -> Tensor:
    """GroupViT's rule, group by group and pixel by pixel.

    Args:
        groups: (G, E) unit features.
        whole: (E,) of the image.
        shares: (G, S, S) at the image's size.
        texts: (K, E).
        scale: Of cosines.
        top: How many names are kept.
    """
    kept = (texts @ whole).argsort(descending=True)[:top]
    scores = []
    for group in groups:
        logits = scale * texts @ group
        second = torch.full_like(logits, -math.inf)
        second[kept] = logits[kept]
        scores.append(logits.softmax(0) * second.softmax(0))
    best = shares.argmax(0)
    out = torch.zeros(len(texts), *best.shape)
    for y in range(best.shape[0]):
        for x in range(best.shape[1]):
            out[:, y, x] = scores[int(best[y, x])]
    return out


def tcl_state(layers: int = 3, *, clip: bool = True, width: int = WIDTH) -> State:
    """All that the authors' code keeps of a TCL; without `clip` the frozen encoders are missing."""
    shapes: dict = {"masker.sim2mask.w": (), "masker.sim2mask.b": ()}
    shapes |= {"tcli_loss.logit_scale": (), "tclf_loss.logit_scale": ()}
    shared = SHARED if clip else 12
    inner = "masker.image_encoder."
    shapes |= clip_block(f"{inner}backbone.transformer.resblocks.{layers - 1}", width)
    for up in range(2):
        for conv in ("conv", "conv2"):
            name = f"{inner}decoder.decoder.net.{up}.{conv}"
            shapes |= affine(f"{name}.norm", width)
            shapes |= affine(f"{name}.conv", width, width, 3, 3)
            shapes[f"{name}.gate.gate"] = ()
    shapes |= affine(f"{inner}decoder.image_proj.ln", width)
    shapes[f"{inner}decoder.image_proj.proj"] = (width, shared)
    if clip:
        shapes |= prefixed("clip_text_encoder.", clip_text())
        shapes |= prefixed("clip_image_encoder.clip_visual.", clip_image(layers))
        shapes |= affine("clip_image_encoder.clip_proj.ln", width)
        shapes["clip_image_encoder.clip_proj.proj"] = (width, shared)
    state = filled(shapes)
    for name in state:
        if name.endswith("gate.gate"):
            state[name] += 0.5
    state["masker.sim2mask.w"] = torch.tensor(7.0)
    state["masker.sim2mask.b"] = torch.tensor(-0.5)
    return state


def tcl_planes(state: State, pixels: Tensor, texts: Tensor, layers: int = 3) -> Tensor:
    """Scores (K, 4h, 4w) of pixels (3, S, S) for unit features (K, E)."""
    image = "clip_image_encoder."
    rows = clip_tokens(state, f"{image}clip_visual.", pixels)
    blocks = [f"{image}clip_visual.transformer.resblocks.{layer}" for layer in range(layers)]
    for block in blocks[:-1]:
        rows = clip_layer(state, block, rows)
    frozen = norm(state, f"{image}clip_proj.ln", clip_layer(state, blocks[-1], rows, own=True))
    frozen = normalize(frozen[1:] @ state[f"{image}clip_proj.proj"], dim=1)

    masker = "masker.image_encoder."
    own = clip_layer(state, f"{masker}backbone.transformer.resblocks.{layers - 1}", rows, own=True)
    plane = own[1:].reshape(GRID, GRID, -1)
    for up in range(2):
        plane = plane.repeat_interleave(2, 0).repeat_interleave(2, 1)
        for conv in ("conv", "conv2"):
            name = f"{masker}decoder.decoder.net.{up}.{conv}"
            seen = gelu(norm(state, f"{name}.norm", plane)).permute(2, 0, 1)[None]
            seen = conv2d(seen, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"], padding=1)
            plane = plane + torch.tanh(state[f"{name}.gate.gate"]) * seen[0].permute(1, 2, 0)
    dense = norm(state, f"{masker}decoder.image_proj.ln", plane)
    dense = normalize(dense @ state[f"{masker}decoder.image_proj.proj"], dim=2)

    logits = state["masker.sim2mask.w"] * (dense @ texts.T) + state["masker.sim2mask.b"]
    plain = torch.sigmoid(10 * (frozen @ texts.T - 0.25)).T.reshape(-1, GRID, GRID)
    kept = torch.nn.functional.interpolate(plain[None], logits.shape[:2], mode="bilinear")[0]
    return 0.7 * logits.sigmoid().permute(2, 0, 1) + 0.3 * kept


def segclip_state(before: int = 2, after: int = 2, centres: int = 3) -> State:
    """All that the authors' code keeps of a SegCLIP, the parts for training among it."""
    shapes = prefixed("clip.", clip_text()) | {"clip.logit_scale": ()}
    shapes |= prefixed("clip.visual.", clip_image(0))
    shapes |= affine("clip.visual.ln_post", WIDTH) | {"clip.visual.proj": (WIDTH, SHARED)}
    inner = "clip.visual.transformer"
    for kind, number in (("layers0", before), ("layers2", after), ("layers_mae2", after)):
        for layer in range(number):
            shapes |= clip_block(f"{inner}.{kind}.{layer}", WIDTH)
    shapes |= affine(f"{inner}.reconstruct_layer2.rec_proj_a.a_fc", centres, centres)
    middle = f"{inner}.semantic_layer2"
    for layer in range(2):
        shapes |= clip_block(f"{middle}.cross_att.{layer}", WIDTH, ("ln_x", "ln_k", "ln_2"))
    for name in ("norm", "cross_ln", "k_ln", "proj_o.ln"):
        shapes |= affine(f"{middle}.{name}", WIDTH)
    shapes[f"{middle}.semantic_center"] = (centres, WIDTH)
    for name in ("k_conv", "v_conv"):
        shapes[f"{middle}.{name}.weight"] = (WIDTH, WIDTH // 2, 1)
    shapes |= affine(f"{middle}.proj_o.mlp.fc1", 4 * WIDTH, WIDTH)
    shapes |= affine(f"{middle}.proj_o.mlp.fc2", WIDTH, 4 * WIDTH)
    shapes |= {"vis_mae_decoder.mask_token": (1, 1, 4), **affine("vis_mae_decoder.norm", 4)}
    state = filled(shapes)
    state[f"{middle}.semantic_center"] *= 10
    state["clip.logit_scale"] = torch.tensor(2.0)
    return state


def segclip_groups(
    state: State, pixels: Tensor, before: int = 2, after: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features (G, E) and (E,), and the share (G, h, w) of pixels (3, S, S)."""
    inner = "clip.visual.transformer"
    rows = clip_tokens(state, "clip.visual.", pixels)[1:]
    for layer in range(before):
        rows = clip_layer(state, f"{inner}.layers0.{layer}", rows)
    middle = f"{inner}.semantic_layer2"
    centres = state[f"{middle}.semantic_center"]
    for layer in range(2):
        name = f"{middle}.cross_att.{layer}"
        both = norm(state, f"{name}.ln_k", torch.cat([centres, rows]))
        q, k, v = packed(state, f"{name}.attn", norm(state, f"{name}.ln_x", centres), both)
        centres = centres + linear(state, f"{name}.attn.out_proj", attend(q, k, v, 2))
        fed = quick(linear(state, f"{name}.mlp.c_fc", norm(state, f"{name}.ln_2", centres)))
        centres = centres + linear(state, f"{name}.mlp.c_proj", fed)
    centres = norm(state, f"{middle}.cross_ln", centres)
    seen, half = norm(state, f"{middle}.norm", rows), WIDTH // 2
    keys, values = (
        torch.cat(
            [
                seen[:, head * half :][:, :half]
                @ state[f"{middle}.{name}.weight"][head * half :][:half, :, 0].T
                for head in range(2)
            ],
            dim=1,
        )
        for name in ("k_conv", "v_conv")
    )
    raw = centres @ norm(state, f"{middle}.k_ln", keys).T
    best = raw.argmax(0)
    gathered = []
    for index, centre in enumerate(centres):
        members = values[best == index]
        gathered.append(centre + members.sum(0) / max(len(members), 1))
    fed = norm(state, f"{middle}.proj_o.ln", torch.stack(gathered))
    fed = gelu(linear(state, f"{middle}.proj_o.mlp.fc1", fed))
    out = quick(linear(state, f"{middle}.proj_o.mlp.fc2", fed))
    for layer in range(after):
        out = clip_layer(state, f"{inner}.layers2.{layer}", out)
    every = norm(state, "clip.visual.ln_post", torch.cat([out, out.amax(0, keepdim=True)]))
    units = normalize(every @ state["clip.visual.proj"], dim=1)
    return units[:-1], units[-1], raw.softmax(0).reshape(-1, GRID, GRID)
