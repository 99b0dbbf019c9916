"""ZeroSeg's training (Chen et al. 2023, ICCV, section 3.2): no caption, a CLIP that sees crops.

The student (`ovsslib.peers.zeroseg.ZeroSegHead`) sees 40 % of an image's patches. With z the vector
of the image and g_i the features of its groups, v_1 the teacher's features of the whole image and
v_2 ... v_n of the cells of a grid on it (`ovsslib.trained.crops`), the losses are

- rebuild: mean squared error of the pixels of the patches that were not seen;
- distil: |z - v_k|_1, the mean over all views;
- match: min over j >= 2 of |g_i - v_j|_1, the mean over the groups.

The paper sums where means are taken here, gives no weights, and does not say how groups get the
teacher's width; here all weights are 1, and all features have length 1. Its student also learns
from 2 x 2 and 4 x 4 cells; 3 x 3 alone does as well (its table 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import pair_scores
from ovsslib.peers.head import save_head
from ovsslib.peers.zeroseg import ZeroSegHead
from ovsslib.trained.crops import Views
from ovsslib.trained.frozen import Frozen, FrozenSize, frozen_size
from ovsslib.trained.system import Batch, System

KEPT = 0.4
"""Share of the patches that the student sees."""
WEIGHTS = {"rebuild": 1.0, "distil": 1.0, "match": 1.0}
INNER = 64
"""Width of the decoder that rebuilds pixels."""


class ZeroSegTrainer(nn.Module):
    """The student, a decoder of pixels and the head of its image vector.

    Args:
        frozen: The teacher.
        grids: Of the cells that it sees; none for the whole image alone.
    """

    def __init__(self, frozen: Frozen, grids: tuple[int, ...]) -> None:
        super().__init__()
        self.head = ZeroSegHead(frozen.tower.model)
        self._views = (Views(frozen, grids),)  # a tuple: no part of the state
        width, patch = self.head.positions.shape[1], self.head.patch
        shape: dict[str, Any] = {
            "dropout": 0.0,
            "nhead": 4,
            "activation": "gelu",
            "batch_first": True,
            "norm_first": True,
        }
        self.enter = nn.Linear(width, INNER)
        self.hidden = nn.Parameter(0.02 * torch.randn(INNER))
        self.places = nn.Parameter(0.02 * torch.randn(len(self.head.positions), INNER))
        self.decoder = nn.TransformerEncoderLayer(INNER, dim_feedforward=4 * INNER, **shape)
        self.leave = nn.Linear(INNER, 3 * patch * patch)
        self.pool = nn.TransformerEncoderLayer(width, dim_feedforward=4 * width, **shape)
        self.vector = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, self.head.project.out_features),
        )

    def image(self, groups: Tensor) -> Tensor:
        """Unit vector (B, E) of an image from its groups (B, G, D)."""
        return normalize(self.vector(self.pool(groups).mean(1)).float(), dim=-1)

    def rebuilt(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """Pixels (B, P, 3 * p * p) of all patches from tokens (B, K, D) of those kept (B, K)."""
        entered = self.enter(tokens)
        rows = self.hidden.expand(len(tokens), len(self.places), -1).to(entered)
        index = kept[..., None].expand(-1, -1, entered.shape[-1])
        found: Tensor = self.leave(self.decoder(rows.scatter(1, index, entered) + self.places))
        return found

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch, and how many cells are the nearest of some group."""
        views = self._views[0](batch.pictures)
        count = len(self.head.positions)
        order = batch.rng.permuted(np.tile(np.arange(count), (len(batch.pixels), 1)), axis=1)
        kept = torch.from_numpy(order[:, : round(KEPT * count)])
        tokens = self.head.encode(batch.pixels, kept)
        groups, _ = self.head.groups(tokens)

        truth = patches_of(batch.pixels, self.head.patch)
        unseen = torch.ones(len(kept), count, dtype=torch.bool).scatter(1, kept, value=False)
        rebuild = mse_loss(self.rebuilt(tokens, kept)[unseen].float(), truth[unseen])
        distil = (self.image(groups)[:, None] - views).abs().sum(-1).mean()
        figures = {"rebuild": rebuild, "distil": distil, "match": torch.zeros(())}
        if views.shape[1] > 1:
            units = self.head.features(groups)
            distances = (units[:, :, None] - views[:, None, 1:]).abs().sum(-1)
            nearest = distances.min(-1)
            figures["match"] = nearest.values.mean()
            used = [len(set(row.tolist())) for row in nearest.indices]
            figures["cells"] = torch.tensor(float(np.mean(used)))
        return figures

    def images(self, pixels: Tensor) -> Tensor:
        """Unit vectors (B, E) of images, all patches seen."""
        return self.image(self.head.groups(self.head.encode(pixels))[0])


def patches_of(pixels: Tensor, patch: int) -> Tensor:
    """The pixels (B, P, 3 * p * p) of the patches of images (B, 3, S, S), row by row."""
    cut = pixels.unfold(2, patch, patch).unfold(3, patch, patch)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


@dataclass(frozen=True)
class ZeroSeg:
    """micro-zeroseg, see `ovsslib.trained.system.Plan`.

    Attributes:
        clip: The teacher.
        grid: Cells along a side of an image that the teacher sees; 1 for the whole image alone.
    """

    clip: str = "micro-clip"
    grid: int = 3

    def size(self, **given: Any) -> FrozenSize:
        """The CLIP's; nothing can be given."""
        return frozen_size(self.clip, **given)

    def make(self, size: FrozenSize, train: CaptionData) -> System:
        """The system at random."""
        del size, train
        frozen = Frozen(self.clip)
        trainer = ZeroSegTrainer(frozen, (self.grid,) if self.grid > 1 else ())
        write = partial(save_head, system="zeroseg", clip=frozen.named, head=trainer.head)
        scores = partial(pair_scores, trainer.images, frozen.sentences)
        return System(trainer, WEIGHTS, scores, write)
