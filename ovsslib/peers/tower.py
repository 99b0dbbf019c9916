"""A CLIP for dense methods: images, texts, and the image encoder in parts.

Letters: B images, N = 1 + P tokens (the class token first), P = h * w patches, D width of a token,
A heads, d = D / A, E width of the space that images and texts share, S side in pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ovsslib.filters.clip import encode_texts, load_open_clip
from ovsslib.lookup import unknown
from ovsslib.peers import hub_clip
from ovsslib.peers.inputs import Texts, squashed, standardised, whole_patches
from ovsslib.peers.parts import open_clip_parts
from ovsslib.vlm import DTYPES, open_device

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def alike(ones: Tensor, others: Tensor, factor: float | Tensor | None = None) -> Tensor:
    """Attention (..., N, N): the softmax of scaled products of vectors (..., N, d).

    Args:
        ones: Rows.
        others: Columns.
        factor: What products are multiplied with; None for 1 / sqrt(d).
    """
    scale = ones.shape[-1] ** -0.5 if factor is None else factor
    return (ones @ others.mT * scale).softmax(-1)


class Tower:
    """A CLIP whose image encoder is a plain vision transformer.

    Args:
        name: Of open_clip (see `ovsslib.filters.clip.Clip`), or a folder or hub id of
            transformers' `CLIPModel`.
        device: Such as `"cpu"`; None for the best there is.
        dtype: Of the image encoder, one of `ovsslib.vlm.DTYPES`; None for float32.
        download: Whether the network may be used.

    Attributes:
        texts: Unit features of names, see `ovsslib.peers.inputs.Texts`.
        parts: The image encoder.

    Raises:
        OvssError: The model cannot be had, or is built otherwise.
    """

    def __init__(
        self,
        name: str,
        device: Any = None,
        dtype: str | None = None,
        *,
        download: bool = False,
    ) -> None:
        self._place(device, dtype)
        self.name = name.rstrip("/").rsplit("/", 1)[-1]
        if hub_clip.folder(name, download=download) is not None:
            hub = hub_clip.HubClip(name, self.device, dtype, download=download)
            self.model, self.parts = hub.model, hub_clip.parts(hub)
            self.texts = Texts(hub.encode)
        else:
            model, _ = load_open_clip(name, str(self.device), download=download)
            encode = functools.partial(encode_texts, model, name, download=download)
            self._use(model, name, encode)

    def _place(self, device: Any, dtype: str | None) -> None:
        """Check where the model computes, and in what."""
        if dtype is not None and dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        self.device, self.dtype = open_device(device), dtype or "float32"

    def _use(self, model: Any, name: str, encode: Callable[[Sequence[str]], Tensor]) -> None:
        """Take a CLIP of open_clip, and what encodes texts with it."""
        self.model = model
        model.visual.to(getattr(torch, self.dtype))
        self.parts = open_clip_parts(model, name)
        self.texts = Texts(encode)

    @property
    def layers(self) -> int:
        """Layers of the image encoder."""
        return len(self.parts.blocks)

    @property
    def scale(self) -> float:
        """What the model was trained to multiply cosines with."""
        return float(self.model.logit_scale.detach().exp())

    @property
    def own_side(self) -> int:
        """Side in pixels of the images that the model was trained with."""
        return self.parts.side

    def prepare(self, images: Sequence[Image.Image], side: int | None = None) -> Tensor:
        """Images as the encoder takes them, (B, 3, S, S).

        Args:
            images: B images, RGB.
            side: S, rounded to whole patches; None for the model's own.
        """
        length = whole_patches(side or self.own_side, self.parts.patch)
        pixels = squashed(images, length, self.device) / 255
        return standardised(pixels, self.parts.mean, self.parts.std)

    def colours(self, pixels: Tensor) -> Tensor:
        """Pixels of `prepare`, (B, 3, S, S), back in 0..1."""
        mean, std = (
            pixels.new_tensor(values).view(3, 1, 1) for values in (self.parts.mean, self.parts.std)
        )
        return pixels * std + mean

    def embed(self, pixels: Tensor) -> Tensor:
        """Tokens (B, N, D) that enter the first layer.

        Positions are those of training, brought to another grid by bicubic interpolation.
        """
        parts = self.parts
        patches = parts.patches(pixels.to(parts.start.dtype))
        start = parts.start.expand(len(patches), 1, -1)
        positions = _resized(parts.positions, pixels.shape[-2] // parts.patch)
        return parts.first(torch.cat([start, patches], dim=1) + positions)

    def enter(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """Tokens (B, N, D) that enter a layer, counted as Python counts: -1 for the last."""
        tokens = self.embed(pixels)
        for block in self.parts.blocks[:layer]:
            tokens = block.whole(tokens)
        return tokens


def _resized(positions: Tensor, side: int) -> Tensor:
    """Positions (1 + P, D) for a grid of `side` by `side` patches."""
    return torch.cat([positions[:1], resized_grid(positions[1:], side)])


def resized_grid(positions: Tensor, side: int) -> Tensor:
    """Positions (P, D) of the patches alone, bicubic, for a grid of `side` by `side`."""
    old = round(len(positions) ** 0.5)
    if old == side:
        return positions
    plane = positions.float().mT.unflatten(1, (old, old))[None]
    resized = F.interpolate(plane, (side, side), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).mT.to(positions.dtype)
