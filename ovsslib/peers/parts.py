"""The image encoder of a CLIP in the parts that dense methods put together in other ways.

Letters: B images, N = 1 + P tokens (the class token first), P = h * w patches, D width of a token,
A heads, d = D / A, E width of the space that images and texts share, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Block:
    """One layer of the image encoder, whole and in parts; T is a tensor of tokens (B, N, D).

    Attributes:
        whole: T -> T, as trained.
        norm: T -> T, the normalisation before attention.
        qkv: Normalised T -> queries, keys and values (3, B, A, N, d).
        out: What heads have read, (B, A, N, d) -> T: output projection and layer scale.
        feed: T -> T, what the feed-forward network adds, its normalisation included.
    """

    whole: Callable[[Tensor], Tensor]
    norm: Callable[[Tensor], Tensor]
    qkv: Callable[[Tensor], Tensor]
    out: Callable[[Tensor], Tensor]
    feed: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Parts:
    """The image encoder of a library, in parts.

    Attributes:
        side: Side S in pixels of the images that it was trained with.
        patch: Side of a patch.
        positions: (1 + P, D), of the class token first.
        patches: Pixels (B, 3, S, S) -> (B, P, D), without positions.
        start: The class token, (D,).
        first: T -> T, the normalisation before the first layer.
        blocks: The layers.
        project: T -> (B, N, E): last normalisation and projection.
        mean: Of the colours, 3 of them.
        std: The same.
    """

    side: int
    patch: int
    positions: Tensor
    patches: Callable[[Tensor], Tensor]
    start: Tensor
    first: Callable[[Tensor], Tensor]
    blocks: tuple[Block, ...]
    project: Callable[[Tensor], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def open_clip_parts(model: Any, name: str) -> Parts:
    """The image encoder of open_clip, in parts.

    Args:
        model: From `ovsslib.filters.clip.load_open_clip`.
        name: For the message.

    Raises:
        OvssError: It is no plain vision transformer.
    """
    import open_clip
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    vision = model.visual
    if (
        not isinstance(vision, VisionTransformer)
        or vision.attn_pool is not None
        or vision.proj is None
        or any(type(each) is not ResidualAttentionBlock for each in vision.transformer.resblocks)
    ):
        raise OvssError(
            f"{name}: its image encoder is no plain vision transformer; give another CLIP, such as "
            "micro-clip or ViT-B-16-quickgelu:openai"
        )
    colours = open_clip.get_model_preprocess_cfg(model)
    return Parts(
        side=vision.image_size[0],
        patch=vision.patch_size[0],
        positions=vision.positional_embedding,
        patches=lambda pixels: vision.conv1(pixels).flatten(2).mT,
        start=vision.class_embedding,
        first=vision.ln_pre,
        blocks=tuple(open_clip_block(layer) for layer in vision.transformer.resblocks),
        project=lambda tokens: vision.ln_post(tokens) @ vision.proj,
        mean=tuple(colours["mean"]),
        std=tuple(colours["std"]),
    )


def open_clip_block(layer: Any) -> Block:
    """A layer of open_clip (`ResidualAttentionBlock`), in parts."""
    attention = layer.attn

    def qkv(tokens: Tensor) -> Tensor:
        packed = F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
        return packed.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)

    return Block(
        whole=layer,
        norm=layer.ln_1,
        qkv=qkv,
        out=lambda read: layer.ls_1(attention.out_proj(read.transpose(1, 2).flatten(2))),
        feed=lambda tokens: layer.ls_2(layer.mlp(layer.ln_2(tokens))),
    )
