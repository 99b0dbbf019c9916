"""Small batches, as the training of a system is given them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ovsslib.miniature.training.blip import normalise
from ovsslib.miniature.training.negatives import Caption
from ovsslib.trained.system import Batch

CAPTIONS = (("a red car on grass",), ("grass",), ("a boat",))
"""The second fits the first image, too."""


def make_batch(
    captions: Sequence[Sequence[str]] = CAPTIONS,
    *,
    pixels: Tensor | None = None,
    side: int = 32,
    done: float = 0.0,
) -> Batch:
    """Noise with captions, the first of each compared.

    Args:
        captions: Of each image.
        pixels: In the place of the noise.
        side: Of the noise.
        done: Share of the steps that is done.
    """
    size = (len(captions), side, side, 3)
    pictures = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    return Batch(
        pictures,
        captions,
        np.random.default_rng(0),
        whole=False,
        done=done,
        pixels=normalise(pictures) if pixels is None else pixels,
        compared=[Caption(texts[0]) for texts in captions],
    )
