"""What methods share that work in more layers than the last one.

Their authors name layers of ViT-B/16, which has 12. Other encoders have other depths: where nothing
else is set, methods take layers at the same share of the depth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import torch

from ovsslib.errors import OvssError
from ovsslib.lookup import Count, Range

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.peers.tower import Tower

Layers = Annotated[tuple[Count, ...], Range(1)]
"""Numbers of layers, the first is 1."""

PUBLISHED_DEPTH = 12
"""Layers of ViT-B/16."""
SECOND_PATH = 6
"""Layers with a second path in CLIP Surgery and in GEM."""


def same_depth(published: Sequence[int], layers: int) -> tuple[int, ...]:
    """Layers at the same share of the depth as published ones of `PUBLISHED_DEPTH`.

    Args:
        published: Numbers of layers, the first is 1.
        layers: Layers of the encoder that is used, at least 2.

    Returns:
        Numbers of layers before the last, rounded (halves up), each once.

    Example:
        >>> same_depth((7, 8, 10), 12), same_depth((7, 8, 10), 24), same_depth((7, 8, 10), 4)
        ((7, 8, 10), (14, 16, 20), (2, 3))
    """
    scaled = (int(number * layers / PUBLISHED_DEPTH + 0.5) for number in published)
    return tuple(dict.fromkeys(min(max(number, 1), layers - 1) for number in scaled))


def middle(chosen: Sequence[int] | None, published: Sequence[int], layers: int) -> tuple[int, ...]:
    """The layers before the last that a method reads.

    Args:
        chosen: What the settings say; None for the published ones, see `same_depth`.
        published: As there.
        layers: Layers of the encoder.

    Raises:
        OvssError: There is no such layer before the last.
    """
    numbers = tuple(chosen) if chosen is not None else same_depth(published, layers)
    if not 1 <= min(numbers) <= max(numbers) < layers:
        raise OvssError(
            f"layers must come before the last of {layers}, got {max(numbers)}; give other layers"
        )
    return numbers


def enter_with_attention(
    tower: Tower,
    pixels: Tensor,
    layers: Sequence[int],
    attention: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """What enters the last layer, and the attention in layers before it.

    Args:
        tower: The CLIP.
        pixels: (B, 3, S, S).
        layers: Numbers of layers before the last, the first is 1.
        attention: Queries and keys (B, A, N, d) -> attention (B, A, N, N). It is only read: the
            layers themselves stay as trained.

    Returns:
        Tokens (B, N, D), and the mean attention of the layers (B, A, N, N), head by head.
    """
    tokens, maps = tower.embed(pixels), []
    for number, block in enumerate(tower.parts.blocks[:-1], start=1):
        if number in layers:
            q, k, _ = block.qkv(block.norm(tokens))
            maps.append(attention(q, k))
        tokens = block.whole(tokens)
    return tokens, torch.stack(maps).mean(0)


def second_path(
    tower: Tower,
    pixels: Tensor,
    layers: int | None,
    read: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Tokens (B, N, D) of a path beside the last layers, without their feed-forward networks.

    Both paths start from the same tokens. In each layer the second one adds what `read` makes of
    the first one's queries, keys and values; the first one goes on as trained.

    Args:
        tower: The CLIP.
        pixels: (B, 3, S, S).
        layers: How many of the last layers; None for `SECOND_PATH`, or half of the layers where
            there are fewer than 12.
        read: Normalised tokens (B, N, D), and queries, keys and values (3, B, A, N, d), to what
            heads have read (B, A, N, d).

    Raises:
        OvssError: There are not so many layers.
    """
    blocks = tower.parts.blocks
    count = layers or max(1, min(SECOND_PATH, len(blocks) // 2))
    if count > len(blocks):
        raise OvssError(f"layers must be at most {len(blocks)}, got {count}; give a smaller number")
    first = len(blocks) - count
    tokens = path = tower.enter(pixels, first)
    for index in range(first, len(blocks)):
        if index > first:
            tokens = blocks[index - 1].whole(tokens)
        normal = blocks[index].norm(tokens)
        path = path + blocks[index].out(read(normal, blocks[index].qkv(normal)))
    return path
