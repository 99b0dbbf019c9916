"""PACL's training (Mukhoti et al. 2023, CVPR): CLIP's contrast of what texts pick of images.

The loss compares every text with what *it* picks of every image of the batch
(`ovsslib.peers.pacl.compatibility`). Open reproductions let an image's own caption pick, and
compare that one vector with all texts; `own` does so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ovsslib.lookup import Positive
from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import pair_scores
from ovsslib.peers.head import save_head
from ovsslib.peers.pacl import PaclHead, compatibility, leaving
from ovsslib.trained.frozen import Frozen, FrozenPlan, FrozenSize, OnFrozen
from ovsslib.trained.system import Batch, System, start_scale


class PaclTrainer(OnFrozen):
    """The embedder and the contrast's temperature.

    Args:
        frozen: The CLIP.
        tau: Scale of the softmax over patches.
        own: Whether an image's own caption picks for all texts.
    """

    def __init__(self, frozen: Frozen, tau: float, *, own: bool = False) -> None:
        super().__init__(frozen)
        self.head, self.theta = PaclHead(frozen.tower.model), start_scale()
        self.tau, self.own = tau, own

    def patches(self, pixels: Tensor) -> Tensor:
        """Unit features (B, P, E) of images (B, 3, S, S)."""
        with torch.no_grad():
            tokens = leaving(self.frozen.tower, pixels)
        found: Tensor = self.head(tokens)
        return found

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch, and the share of images whose caption is found."""
        texts, patches = self.frozen.captions(batch.compared), self.patches(batch.pixels)
        if self.own:
            weights = (self.tau * (patches * texts[:, None]).sum(-1)).softmax(1)
            cosines = normalize((weights[..., None] * patches).sum(1), dim=-1) @ texts.T
        else:
            cosines = compatibility(patches, texts, self.tau)
        loss, found = batch.contrast(cosines, self.theta)
        return {"contrastive": loss, "found": found}


@dataclass(frozen=True)
class Pacl(FrozenPlan):
    """micro-pacl, see `ovsslib.trained.system.Plan`.

    Attributes:
        tau: See `PaclTrainer`.
        own: The same.
    """

    tau: Positive = 10.0
    own: bool = False

    def make(self, size: FrozenSize, train: CaptionData) -> System:
        """The system, which starts with CLIP's own projection."""
        del size, train
        frozen = Frozen(self.clip)
        trainer = PaclTrainer(frozen, self.tau, own=self.own)

        def compare(patches: Tensor, texts: Tensor) -> Tensor:
            pairs = zip(patches, texts, strict=True)
            return torch.stack(
                [compatibility(one[None], text[None], self.tau)[0, 0] for one, text in pairs]
            )

        write = partial(save_head, system="pacl", clip=frozen.named, head=trainer.head)
        scores = partial(pair_scores, trainer.patches, frozen.sentences, compare=compare)
        return System(trainer, {"contrastive": 1.0}, scores, write)
