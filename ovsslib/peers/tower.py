"""A CLIP for dense methods: images, texts, and the image encoder in parts.

Letters: B images, N = 1 + P tokens (the class token first), P = h * w patches, D width of a token,
A heads, d = D / A, E width of the space that images and texts share, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.filters.clip import encode_texts, load_open_clip
from ovsslib.lookup import unknown
from ovsslib.peers import hub_clip
from ovsslib.peers.parts import Parts, open_clip_parts
from ovsslib.vlm import DTYPES, open_device
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ovsslib.protocols.templates import Template


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
        if dtype is not None and dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        self.device, self.dtype = open_device(device), dtype or "float32"
        self.name = name.rstrip("/").rsplit("/", 1)[-1]
        folder = hub_clip.folder(name, download=download)
        self._texts: dict[tuple[str, ...], Tensor] = {}
        if folder is not None:
            self.model, self._encode = hub_clip.load(folder, self.device)
            vision, parts = self.model.vision_model, hub_clip.parts
        else:
            self.model, _ = load_open_clip(name, str(self.device), download=download)
            self._encode = lambda texts: encode_texts(self.model, name, texts, download=download)
            vision, parts = self.model.visual, open_clip_parts
        vision.to(getattr(torch, self.dtype))
        self.parts: Parts = parts(self.model, name)

    @property
    def layers(self) -> int:
        """Layers of the image encoder."""
        return len(self.parts.blocks)

    @property
    def scale(self) -> float:
        """What the model was trained to multiply cosines with."""
        return float(self.model.logit_scale.detach().exp())

    def side(self, wanted: int | None) -> int:
        """A side in pixels, rounded to whole patches; None for the model's own."""
        patch = self.parts.patch
        return max(1, round((wanted or self.parts.side) / patch)) * patch

    def prepare(self, images: Sequence[Image.Image], side: int | None = None) -> Tensor:
        """Images as the encoder takes them: (B, 3, S, S), squashed to the square.

        CLIP's own preparation would cut off the ends of the longer side.
        """
        from PIL import Image

        size = (self.side(side),) * 2
        arrays = [np.asarray(image.resize(size, Image.Resampling.BICUBIC)) for image in images]
        pixels = torch.from_numpy(np.stack(arrays)).to(self.device).permute(0, 3, 1, 2).float()
        mean, std = (
            torch.tensor(values, device=self.device).view(3, 1, 1)
            for values in (self.parts.mean, self.parts.std)
        )
        normal: Tensor = (pixels / 255 - mean) / std
        return normal

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

    @own_state()
    def texts(self, names: Sequence[str], templates: Sequence[Template]) -> Tensor:
        """Unit features (K, E) float32 of names: of their sentences' features the mean.

        Args:
            names: K of them.
            templates: Functions from a name to a sentence.
        """
        named = [tuple(template(name) for template in templates) for name in names]
        new = [key for key in dict.fromkeys(named) if key not in self._texts]
        if new:
            features = self._encode([sentence for key in new for sentence in key]).float()
            means = features.view(len(new), len(templates), -1).mean(1)
            self._texts.update(zip(new, F.normalize(means, dim=-1), strict=True))
        return torch.stack([self._texts[key] for key in named])


def _resized(positions: Tensor, side: int) -> Tensor:
    """Positions (1 + P, D) for a grid of `side` by `side` patches."""
    start, grid = positions[:1], positions[1:]
    old = round(len(grid) ** 0.5)
    if old == side:
        return positions
    plane = grid.float().mT.unflatten(1, (old, old))[None]
    resized = F.interpolate(plane, (side, side), mode="bicubic", align_corners=False)
    return torch.cat([start, resized[0].flatten(1).mT.to(positions.dtype)])
