"""CLIPpy's training (Ranasinghe et al. 2023, ICCV): CLIP's contrast on the maximum over patches.

The image's vector is, feature by feature, the maximum over the patches that the image encoder ends
with; nothing else differs from CLIP. So a patch must carry itself what the image shows, and is
compared with names as it is (`ovsslib.peers.clippy`). The mean over patches and the class token
are what the paper compares it with (table 7).

The paper starts from DINO and Sentence-T5; here both encoders start at random, which costs the
paper more than half of its figure on Pascal VOC (table 8). Half of the patches are left out of a
training step (the paper leaves out 80 % at twice the resolution).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import open_clip
from torch import Tensor, nn
from torch.nn.functional import normalize

from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import (
    ClipSize,
    Words,
    build,
    caption_features,
    pair_scores,
    save,
)
from ovsslib.miniature.training.patches import some_patches, through
from ovsslib.trained.system import Batch, Plan, System

KEPT = 0.5
"""Share of the patches that a training step sees."""
Pooling = Literal["max", "mean", "class token"]


class ClippyTrainer(nn.Module):
    """A CLIP whose image vector is pooled over patches; `forward` gives the loss.

    Args:
        size: Architecture.
        pooling: What becomes the image's vector: of its patches the maximum or the mean, or the
            class token. Patches see a class token in any case.
    """

    def __init__(self, size: ClipSize, pooling: Pooling) -> None:
        super().__init__()
        self.model: open_clip.CLIP = build(size)
        self.pooling, self.words = pooling, Words()

    def images(self, pixels: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """Unit features (B, E) of images.

        Args:
            pixels: (B, 3, S, S), normalised.
            rng: Source of randomness of a training step; None for all patches.
        """
        vision = self.model.visual
        tokens = vision._embeds(pixels)
        if rng is not None:
            tokens = some_patches(tokens, KEPT, rng)
        out = vision.ln_post(through(vision.transformer.resblocks, tokens)) @ vision.proj
        if self.pooling == "class token":
            return normalize(out[:, 0].float(), dim=-1)
        patches = out[:, 1:].float()
        pooled = patches.amax(1) if self.pooling == "max" else patches.mean(1)
        return normalize(pooled, dim=-1)

    def texts(self, texts: list[str]) -> Tensor:
        """Unit features (N, E) of N texts."""
        return self.model.encode_text(self.words(texts), normalize=True)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch, and the share of images whose caption is found."""
        image = self.images(batch.pixels, None if batch.whole else batch.rng)
        text = caption_features(self.model, batch.compared, self.words)
        loss, found = batch.contrast(image @ text.T, self.model.logit_scale)
        return {"contrastive": loss, "found": found}


@dataclass(frozen=True)
class Clippy(Plan):
    """micro-clippy, see `ovsslib.trained.system.Plan`; `pooling` as in `ClippyTrainer`."""

    pooling: Pooling = "max"

    def size(self, **given: Any) -> ClipSize:
        """The architecture; what is not given is micro-clip's."""
        return ClipSize(**given)

    def make(self, size: ClipSize, train: CaptionData) -> System:
        """The system at random."""
        del train
        trainer = ClippyTrainer(size, self.pooling)
        scores = partial(pair_scores, trainer.images, trainer.texts)
        return System(trainer, {"contrastive": 1.0}, scores, partial(save, trainer.model, size))
