"""ZeroSeg's training (Chen et al. 2023, ICCV, section 3.2): no caption, a CLIP that sees crops.

The student (`ovsslib.peers.zeroseg.ZeroSegHead`) sees 40 % of an image's patches. With z the vector
of the image and g_i the features of its groups, v_1 the teacher's features of the whole image and
v_2 ... v_n of the cells of a grid on it (`ovsslib.trained.crops`), the losses are

- rebuild: mean squared error of the pixels of the patches that were not seen;
- distil: |z - v_k|_1, the mean over all views;
- match: min over j >= 2 of |g_i - v_j|_1, the mean over the groups.

The paper sums where means are taken here, gives no weights, and does not say how groups get the
teacher's width; here all weights are 1, all features have length 1, and 10,000 images are used, so
that the teacher's features can be remembered. Its student also learns from 2 x 2 and 4 x 4 cells;
3 x 3 alone does as well (its table 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ovsslib.lookup import Range
from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import pair_scores
from ovsslib.peers.head import save_head
from ovsslib.peers.zeroseg import ZeroSegHead
from ovsslib.trained.crops import views
from ovsslib.trained.frozen import Frozen, FrozenPlan, FrozenSize
from ovsslib.trained.once import Once
from ovsslib.trained.pixels import PixelDecoder, kept_patches
from ovsslib.trained.system import Batch, System

KEPT = 0.4
"""Share of the patches that the student sees."""
WEIGHTS = {"rebuild": 1.0, "distil": 1.0, "match": 1.0}


class ZeroSegTrainer(nn.Module):
    """The student, a decoder of pixels and the head of its image vector.

    Args:
        frozen: The teacher.
        grid: Cells along a side of an image that it sees; 1 for the whole image alone.
    """

    def __init__(self, frozen: Frozen, grid: int) -> None:
        super().__init__()
        self.head = ZeroSegHead(frozen.tower.model)
        self.views = Once(partial(views, frozen, grid))
        width, patch = self.head.positions.shape[1], self.head.patch
        self.pixels = PixelDecoder(width, len(self.head.positions), patch)
        self.pool = nn.TransformerEncoderLayer(
            width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.vector = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, self.head.project.out_features),
        )

    def image(self, groups: Tensor) -> Tensor:
        """Unit vector (B, E) of an image from its groups (B, G, D)."""
        return normalize(self.vector(self.pool(groups).mean(1)).float(), dim=-1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch, and how many cells are the nearest of some group."""
        seen = self.views(batch.pictures)
        kept = kept_patches(len(batch.pixels), len(self.head.positions), KEPT, batch.rng)
        tokens = self.head.encode(batch.pixels, kept)
        groups, _ = self.head.groups(tokens)
        rebuild = self.pixels.loss(tokens, kept, batch.pixels)
        distil = (self.image(groups)[:, None] - seen).abs().sum(-1).mean()
        figures = {"rebuild": rebuild, "distil": distil, "match": torch.zeros(())}
        if seen.shape[1] > 1:
            units = self.head.features(groups)
            distances = (units[:, :, None] - seen[:, None, 1:]).abs().sum(-1)
            nearest = distances.min(-1)
            figures["match"] = nearest.values.mean()
            used = [len(set(row.tolist())) for row in nearest.indices]
            figures["cells"] = torch.tensor(float(np.mean(used)))
        return figures

    def images(self, pixels: Tensor) -> Tensor:
        """Unit vectors (B, E) of images, all patches seen."""
        return self.image(self.head.groups(self.head.encode(pixels))[0])


@dataclass(frozen=True)
class ZeroSeg(FrozenPlan):
    """micro-zeroseg, see `ovsslib.trained.system.Plan`.

    Attributes:
        grid: Cells along a side of an image that the teacher sees; 1 for the whole image alone.
    """

    grid: Annotated[int, Range(1, 16)] = 3

    def make(self, size: FrozenSize, train: CaptionData) -> System:
        """The system at random."""
        del size, train
        frozen = Frozen(self.clip)
        trainer = ZeroSegTrainer(frozen, self.grid)
        write = partial(save_head, system="zeroseg", clip=frozen.named, head=trainer.head)
        scores = partial(pair_scores, trainer.images, frozen.sentences)
        return System(trainer, WEIGHTS, scores, write)
