"""TCL's training (Cha et al. 2023, CVPR, section 3): masks that make regions fit their texts.

For image i and text j of a batch the head (`ovsslib.peers.tcl.TclHead`) makes a mask M_ij. Losses:

- image: CLIP's contrast of the masked images (a hard mask, by a straight-through Gumbel sigmoid)
  with their texts; the gradient goes through the frozen CLIP into the mask.
- feature: the same contrast of the features that M_ij pools from image i.
- area: |mean M_ii - prior| + |mean M_ij, i != j|, means over the whole batch.
- smooth: total variation of features and masks.

The copy of the last layer is locked in the first 60 % of the steps.

Departures: a pair whose caption names nothing but what the image shows is no negative, in either
contrast and in the area (of 64 captions many name the same class; TCL has 1,024 images a step).
Logits start where a cosine of the 60 % quantile of right pairs gives 0.5 (TCL's constants are
OpenAI's). Features are brought to unit root mean square before their total variation, which would
grow with their norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ovsslib.lookup import Share
from ovsslib.miniature.training.blip import normalise
from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import pair_scores
from ovsslib.peers.head import save_head
from ovsslib.peers.maskclip import value_path
from ovsslib.peers.tcl import TclHead
from ovsslib.trained.frozen import Frozen, FrozenPlan, FrozenSize, OnFrozen
from ovsslib.trained.system import Batch, System

WEIGHTS = {"image": 0.1, "feature": 0.1, "area": 0.4, "smooth": 1.0}
LOCKED = 0.6
"""Share of the steps, the first ones, that lock the copy of CLIP's last layer."""
PRIOR = 0.4
"""Share of an image that its caption is expected to name."""
UPS = 1
"""Doublings of the grid; the paper's 2 take six times as long here."""
CALIBRATED = 500
"""Training images that the masks' start is calibrated on."""
QUANTILE = 0.6
SPREAD = 2.0
"""Logits of right pairs start with this standard deviation."""


class TclTrainer(OnFrozen):
    """The head and the temperatures of its two contrasts.

    Args:
        frozen: The CLIP.
        ups: See `TclHead`.
        prior: See `PRIOR`; None for no loss of the area.
    """

    def __init__(self, frozen: Frozen, ups: int = UPS, prior: float | None = PRIOR) -> None:
        super().__init__(frozen)
        self.head = TclHead(frozen.tower.model, ups)
        self.scales = nn.Parameter(torch.full((2,), math.log(1 / 0.07)))
        self.prior = prior

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses and figures of a batch."""
        pixels, own = batch.pixels, torch.arange(len(batch.pixels))
        texts = self.frozen.captions(batch.compared)
        dense = self.head(self.frozen.entering(pixels), locked=batch.done < LOCKED).float()
        cosines = torch.einsum("behw,te->bthw", normalize(dense, dim=1), texts)
        logits = self.head.logits(cosines)
        masks = logits.sigmoid()

        hard = gumbel_sigmoid(logits[own, own])
        seen = interpolate(hard[:, None], pixels.shape[-2:], mode="nearest") * pixels
        image, found = batch.contrast(self.frozen.images(seen) @ texts.T, self.scales[0])
        pooled = torch.einsum("bthw,behw->bte", masks, dense)
        pooled = pooled / (masks.sum((2, 3))[..., None] + 1e-6)
        similar = (normalize(pooled, dim=-1) * texts).sum(-1)
        feature, _ = batch.contrast(similar, self.scales[1])

        means = masks.mean((2, 3))
        right = means.diagonal().mean()
        others = ~(batch.fits | torch.eye(len(pixels), dtype=torch.bool))
        wrong = (means * others).sum() / others.sum().clamp(min=1)  # all may fit in a small batch
        area = wrong + (right - self.prior).abs() if self.prior is not None else 0 * wrong
        level = dense.detach().square().mean().sqrt()
        smooth = variation(dense / level) + variation(masks)
        return {
            "image": image,
            "feature": feature,
            "area": area,
            "smooth": smooth,
            "found": found,
            "right_area": right.detach(),
            "wrong_area": wrong.detach(),
        }

    def dense(self, pixels: Tensor) -> Tensor:
        """Dense features (B, E, H, W) of images."""
        found: Tensor = self.head(self.frozen.entering(pixels))
        return found

    def region(self, dense: Tensor, texts: Tensor) -> Tensor:
        """Cosine (N,) of each text with the region of its mask.

        Args:
            dense: (N, E, H, W).
            texts: (N, E) unit vectors.
        """
        found = torch.einsum("behw,be->bhw", normalize(dense, dim=1), texts)
        masks = self.head.logits(found).sigmoid()
        return (normalize(torch.einsum("bhw,behw->be", masks, dense), dim=-1) * texts).sum(-1)


def gumbel_sigmoid(logits: Tensor) -> Tensor:
    """Masks of 0 and 1 with logistic noise; the gradient is that of the soft ones."""
    noise = torch.empty_like(logits).uniform_(1e-6, 1 - 1e-6).logit()
    soft = (logits + noise).sigmoid()
    return (soft > 0.5).to(soft) - soft.detach() + soft


def variation(planes: Tensor) -> Tensor:
    """Mean absolute difference of neighbours (..., H, W), across plus down."""
    across, down = planes.diff(dim=-1), planes.diff(dim=-2)
    return across.abs().mean() + down.abs().mean()


@torch.no_grad()
def start_masks(
    head: TclHead, frozen: Frozen, pictures: np.ndarray, captions: Sequence[Sequence[str]]
) -> None:
    """Set the logits' start by the cosines of images' patches with their captions.

    Args:
        head: Calibrated.
        frozen: The CLIP.
        pictures: (N, S, S, 3) uint8.
        captions: Of each image; the longest one is taken.
    """
    tokens = frozen.entering(normalise(pictures))
    read = value_path(frozen.tower.parts.blocks[-1], tokens, residual=True)
    patches = normalize(frozen.tower.parts.project(read)[:, 1:].float(), dim=-1)
    texts = frozen.sentences([max(options, key=len) for options in captions])
    cosines = torch.einsum("bpe,be->bp", patches, texts)
    head.calibrate(SPREAD / float(cosines.std()), float(cosines.quantile(QUANTILE)))


@dataclass(frozen=True)
class Tcl(FrozenPlan):
    """micro-tcl, see `ovsslib.trained.system.Plan`.

    Attributes:
        prior: See `TclTrainer`.
    """

    prior: Share | None = PRIOR

    def make(self, size: FrozenSize, train: CaptionData) -> System:
        """The system, which starts as MaskCLIP."""
        del size
        frozen = Frozen(self.clip)
        trainer = TclTrainer(frozen, prior=self.prior)
        some = range(min(CALIBRATED, len(train)))
        start_masks(trainer.head, frozen, train.pictures[some], [train.captions[i] for i in some])
        write = partial(save_head, system="tcl", clip=frozen.named, head=trainer.head, ups=UPS)
        scores = partial(pair_scores, trainer.dense, frozen.sentences, compare=trainer.region)
        return System(trainer, WEIGHTS, scores, write)
