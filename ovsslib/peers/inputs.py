"""Images and names as image-text models take them.

Letters: B images, K names, E width of the space that images and texts share, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ovsslib.protocols.templates import Template

BATCH = 64
"""Sentences that are encoded together."""


def whole_patches(side: int, patch: int) -> int:
    """A side in pixels, rounded to whole patches, at least one.

    Example:
        >>> whole_patches(100, 16), whole_patches(1, 16)
        (96, 16)
    """
    return max(1, round(side / patch)) * patch


def squashed(
    images: Sequence[Image.Image], side: int, device: torch.device, resample: int = 3
) -> Tensor:
    """Images (B, 3, S, S) in 0..255, squashed to the square.

    The models' own preparation would cut off the ends of the longer side.

    Args:
        images: RGB.
        side: S.
        device: Where to.
        resample: Pillow's number of the filter, 3 for bicubic.
    """
    from PIL import Image

    kind = Image.Resampling(resample)
    arrays = [np.asarray(image.resize((side, side), kind)) for image in images]
    return torch.from_numpy(np.stack(arrays)).to(device).permute(0, 3, 1, 2).float()


def standardised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels (B, 3, S, S) less the mean of each colour, over its standard deviation."""
    low, scale = (torch.tensor(each, device=pixels.device).view(3, 1, 1) for each in (mean, std))
    out: Tensor = (pixels - low) / scale
    return out


class Texts:
    """Features of names, each encoded once.

    Args:
        encode: N sentences to features (N, E), of any length.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Tensor]) -> None:
        self._encode = encode
        self._known: dict[tuple[str, ...], Tensor] = {}

    @own_state()
    def __call__(self, names: Sequence[str], templates: Sequence[Template]) -> Tensor:
        """Unit features (K, E) float32 of names: of their sentences' unit features the mean.

        Args:
            names: K of them.
            templates: Functions from a name to a sentence.
        """
        named = [tuple(template(name) for template in templates) for name in names]
        new = [key for key in dict.fromkeys(named) if key not in self._known]
        if new:
            every = [sentence for key in new for sentence in key]
            parts = [self._encode(every[i : i + BATCH]) for i in range(0, len(every), BATCH)]
            units = F.normalize(torch.cat(parts).float(), dim=-1)
            means = units.view(len(new), len(templates), -1).mean(1)
            self._known.update(zip(new, F.normalize(means, dim=-1), strict=True))
        return torch.stack([self._known[key] for key in named])
