"""After ViewCo (Ren et al. 2023, ICLR): a GroupViT whose groups agree on two views of an image.

The model is GroupViT's (`ovsslib.trained.groupvit`). A teacher, the moving average of the student,
sees the same two crops of each image. Losses:

- contrastive: CLIP's, of each view and the caption; the mean over both views.
- segments: with s the unit tokens of the student's groups in one view and t those of the teacher's
  in the other, the mean over groups g of all images, and over both ways to take the views, of
  -log(exp(s_g . t_g / tau) / sum over h exp(s_g . t_h / tau)), h all groups of all images.

That there are a student, a slow teacher and these two kinds of loss is what the abstract and
summaries say. The formulas are a reconstruction: the authors published no code, and the paper's
text could not be read here. It is not known whether these are right: which group of the other view
is the right one (here that of the same number), tau, the momentum, the crops, that tokens are
taken before the projection, and that both losses weigh the same. So what is measured with it is
called "after ViewCo" and says nothing about ViewCo's own figures. The loss of prompts made of nouns
is left out, as in GroupViT.

Images are counted as everywhere: 64 a step. Each is encoded four times, twice with gradient, where
GroupViT encodes it once. Half of the steps would give equal work, but half of the images and
captions; equal images are what all systems share.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, normalize

from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import pair_scores
from ovsslib.miniature.training.teacher import follow, rising
from ovsslib.trained.groupvit import GroupVit, GroupVitSize, GroupVitTrainer, save
from ovsslib.trained.system import Batch, System

WEIGHTS = {"contrastive": 1.0, "segments": 1.0}
LEAST = 0.5
"""Least share of an image's area that a view shows."""
MOMENTUM = 0.996
"""Of the teacher at first; it rises to 1."""
TAU = 0.1
"""Temperature of the contrast of groups."""


class AfterViewCoTrainer(GroupVitTrainer):
    """The student and its teacher; `forward` gives the losses.

    Args:
        size: Architecture.
        spread: See `ovsslib.trained.groupvit.build`.
        segments: Whether groups of two views are compared.
    """

    def __init__(self, size: GroupVitSize, spread: float, *, segments: bool = True) -> None:
        super().__init__(size, spread)
        self.teacher = None
        if segments:
            student = self.model.vision_model
            self.teacher = copy.deepcopy(student).requires_grad_(requires_grad=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch, and the share of views whose caption is found."""
        pixels = torch.cat([view(batch.pixels, batch.rng) for _ in range(2)])
        groups = self.model.vision_model(pixel_values=pixels).last_hidden_state
        units = normalize(self.model.visual_projection(groups.mean(1)).float(), dim=-1)
        texts = self.texts([caption.text for caption in batch.compared])
        losses, found = zip(
            *(batch.contrast(own @ texts.T, self.model.logit_scale) for own in units.chunk(2)),
            strict=True,
        )
        figures = {"contrastive": torch.stack(losses).mean(), "segments": torch.zeros(())}
        if self.teacher is not None:
            if self.training:  # the student has moved since the last step
                follow(self.teacher, self.model.vision_model, rising(MOMENTUM, batch.done))
            with torch.no_grad():
                slow = self.teacher(pixel_values=pixels).last_hidden_state
            pairs = zip(groups.chunk(2), reversed(slow.chunk(2)), strict=True)
            figures["segments"] = torch.stack([same_groups(*pair) for pair in pairs]).mean()
        return figures | {"found": torch.stack(found).mean()}


def view(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """A square crop of each image, bilinear, as large as the image: (B, 3, S, S).

    Args:
        pixels: (B, 3, S, S).
        rng: Of its size and place; its area is at least `LEAST` of the image's.
    """
    sides = np.sqrt(rng.uniform(LEAST, 1, (len(pixels), 1)))
    # The crop's middle where the image goes from -1 to 1.
    middles = rng.uniform(-1, 1, (len(pixels), 2)) * (1 - sides)
    maps = np.concatenate([sides[..., None] * np.eye(2), middles[..., None]], 2)
    grid = affine_grid(torch.from_numpy(maps).to(pixels), list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def same_groups(student: Tensor, teacher: Tensor) -> Tensor:
    """How badly groups find themselves among all of the other view, in nats.

    Args:
        student: (B, G, D) tokens of groups in one view.
        teacher: The same in the other.
    """
    rows, columns = (normalize(each.float().flatten(0, 1), dim=-1) for each in (student, teacher))
    return cross_entropy(rows @ columns.T / TAU, torch.arange(len(rows)))


@dataclass(frozen=True)
class AfterViewCo(GroupVit):
    """micro-after-viewco, see `ovsslib.trained.system.Plan`; options as in its trainer."""

    segments: bool = True

    def make(self, size: GroupVitSize, train: CaptionData) -> System:
        """The system at random."""
        del train
        trainer = AfterViewCoTrainer(size, self.spread, segments=self.segments)
        scores = partial(pair_scores, trainer.images, trainer.texts)
        return System(trainer, WEIGHTS, scores, partial(save, trainer, size))
