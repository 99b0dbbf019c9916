"""MaskCLIP+'s training (Zhou et al. 2022, ECCV): MaskCLIP's labels are the truth.

For every image the frozen CLIP, read as MaskCLIP, scores the names of the data set; the highest
score of each pixel is its label, and the network is trained on it by cross-entropy. No label of a
person is used, but the list of names is. The authors' configurations for benchmarks leave out the
pixels that the true masks call void; here every pixel is trained. Labels never come from the
network itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, normalize

from ovsslib.miniature.diorama.classes import CLASSES
from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import pair_scores
from ovsslib.peers.head import save_head
from ovsslib.peers.maskclip import value_path
from ovsslib.peers.maskclip_plus import MaskClipPlusHead
from ovsslib.trained.frozen import Frozen, FrozenPlan, FrozenSize, OnFrozen
from ovsslib.trained.system import Batch, System

PROMPT = "a photo of a"


class MaskClipPlusTrainer(OnFrozen):
    """The network and its teacher.

    Args:
        frozen: The CLIP.
        names: Of the data set.
        residual: See `ovsslib.peers.maskclip.MaskClipConfig`.
    """

    def __init__(self, frozen: Frozen, names: tuple[str, ...], *, residual: bool = False) -> None:
        super().__init__(frozen)
        self.head = MaskClipPlusHead(frozen.tower.model)
        self.residual = residual
        self._texts = (frozen.sentences([f"{PROMPT} {name}" for name in names]),)

    @torch.no_grad()
    def labels(self, pixels: Tensor, side: int) -> Tensor:
        """The teacher's labels (B, side, side) of images (B, 3, S, S)."""
        tower = self.frozen.tower
        read = value_path(tower.parts.blocks[-1], tower.enter(pixels), residual=self.residual)
        patches = normalize(tower.parts.project(read)[:, 1:].float(), dim=-1)
        planes = (patches @ self._texts[0].T).mT
        grid = round(planes.shape[-1] ** 0.5)
        large = interpolate(planes.unflatten(2, (grid, grid)), (side, side), mode="bilinear")
        return large.argmax(1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch, and the share of the teacher's labels that are found."""
        dense = self.head(batch.pixels).float()
        logits = torch.einsum("behw,ke->bkhw", dense, self._texts[0])
        labels = self.labels(batch.pixels, dense.shape[-1])
        found = (logits.argmax(1) == labels).float().mean().detach()
        return {"labels": cross_entropy(logits, labels), "found": found}

    def vector(self, pixels: Tensor) -> Tensor:
        """Unit features (B, E) of images: of all pixels the mean."""
        return normalize(self.head(pixels).mean((2, 3)), dim=-1)


@dataclass(frozen=True)
class MaskClipPlus(FrozenPlan):
    """micro-maskclip-plus, see `ovsslib.trained.system.Plan`.

    Attributes:
        residual: See `MaskClipPlusTrainer`.
    """

    residual: bool = False

    def make(self, size: FrozenSize, train: CaptionData) -> System:
        """The system at random."""
        del size, train
        frozen = Frozen(self.clip)
        trainer = MaskClipPlusTrainer(frozen, CLASSES, residual=self.residual)
        write = partial(save_head, system="maskclip-plus", clip=frozen.named, head=trainer.head)
        scores = partial(pair_scores, trainer.vector, frozen.sentences)
        return System(trainer, {"labels": 1.0}, scores, write)
