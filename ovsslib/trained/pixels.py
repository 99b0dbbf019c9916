"""Pixels of patches that were not seen, rebuilt from those that were (a masked autoencoder).

Source: He et al. 2022 (CVPR), section 3: a narrow decoder with a learned token in each empty place.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

INNER = 64
"""Width of the decoder."""


def kept_patches(images: int, patches: int, share: float, rng: np.random.Generator) -> Tensor:
    """Numbers (B, K) of the patches that are seen of each image."""
    order = rng.permuted(np.tile(np.arange(patches), (images, 1)), axis=1)
    return torch.from_numpy(order[:, : round(share * patches)])


def patches_of(pixels: Tensor, patch: int) -> Tensor:
    """The pixels (B, P, 3 * p * p) of the patches of images (B, 3, S, S), row by row."""
    cut = pixels.unfold(2, patch, patch).unfold(3, patch, patch)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


class PixelDecoder(nn.Module):
    """One narrow layer that rebuilds pixels.

    Args:
        width: D of the tokens it is given.
        patches: P of an image.
        patch: Side p of a patch.
    """

    def __init__(self, width: int, patches: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.enter, self.leave = nn.Linear(width, INNER), nn.Linear(INNER, 3 * patch * patch)
        self.hidden = nn.Parameter(0.02 * torch.randn(INNER))
        self.places = nn.Parameter(0.02 * torch.randn(patches, INNER))
        self.layer = nn.TransformerEncoderLayer(
            INNER, 4, 4 * INNER, 0.0, "gelu", batch_first=True, norm_first=True
        )

    def forward(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """Pixels (B, P, 3 * p * p) of all patches from tokens (B, K, D) of those kept (B, K)."""
        entered = self.enter(tokens)
        rows = self.hidden.expand(len(tokens), len(self.places), -1).to(entered)
        index = kept[..., None].expand(-1, -1, entered.shape[-1])
        found: Tensor = self.leave(self.layer(rows.scatter(1, index, entered) + self.places))
        return found

    def loss(self, tokens: Tensor, kept: Tensor, pixels: Tensor) -> Tensor:
        """Mean squared error of the pixels (B, 3, S, S) of patches that were not kept."""
        truth = patches_of(pixels, self.patch)
        unseen = torch.ones(truth.shape[:2], dtype=torch.bool).scatter(1, kept, value=False)
        return mse_loss(self(tokens, kept)[unseen].float(), truth[unseen])
