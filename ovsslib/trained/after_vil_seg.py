"""After ViL-Seg (Liu et al. 2022, ECCV): captions, views and clusters train one image encoder.

A CLIP is trained from random weights, with a head that sorts patches into clusters
(`ovsslib.peers.after_vil_seg`). Losses:

- contrastive: CLIP's, of the class token and the caption, as micro-clip is trained.
- dino: self-distillation of crops, as micro-dino is trained: whatever crop the student sees, it is
  to say what a slow teacher says of a larger one.
- cluster: less the mutual information of the clusters of neighbouring patches (Ji et al. 2019,
  ICCV, IIC). With p_i the shares of clusters in patch i and P the mean of p_i p_j' over all
  neighbours i and j of a batch, both ways, it is -sum over a, b of P_ab ln(P_ab / (P_a P_b)).
  Only the head learns from it.

That captions, views and an online clustering head are combined is what the abstract says. The
formulas are a reconstruction: the authors published no code, and the paper's text could not be
read here. It is not known whether these are right: that views are distilled as in DINO, which
pairs of patches the clustering compares, how many clusters there are, that it has features of the
last layer, and the weights of the losses, which are 1 here. So what is measured with it is called
"after ViL-Seg" and says nothing about ViL-Seg's own figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ovsslib.miniature.training import clip as clips
from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import ClipSize, Words, caption_features, clip_scores
from ovsslib.miniature.training.dino import (
    LARGE_GRIDS,
    MOMENTUM,
    STILL,
    Branch,
    DinoSize,
    DinoTrainer,
    views,
)
from ovsslib.miniature.training.patches import LATE, through
from ovsslib.miniature.training.teacher import rising
from ovsslib.peers.after_vil_seg import ClusterHead
from ovsslib.peers.head import save_head
from ovsslib.peers.tower import resized_grid
from ovsslib.trained.system import Batch, Plan, System

WEIGHTS = {"contrastive": 1.0, "dino": 1.0, "cluster": 1.0}


class ClipBranch(Branch):
    """The image encoder of a CLIP with DINO's head; it takes crops of any number of patches."""

    def encode(self, pixels: Tensor, *, late: bool) -> Tensor:
        """Class tokens (B, D) of images; arguments as in `Branch.forward`."""
        vision = self.backbone
        patches = vision.conv1(pixels).flatten(2).mT
        places = vision.positional_embedding
        grid = resized_grid(places[1:], pixels.shape[-1] // vision.patch_size[0])
        start = vision.class_embedding.to(patches).expand(len(patches), 1, -1)
        tokens = torch.cat([start, patches], 1) + torch.cat([places[:1], grid]).to(patches)
        layers = vision.transformer.resblocks
        found: Tensor = vision.ln_post(through(layers, vision.ln_pre(tokens), late=late))[:, 0]
        return found


class AfterVilSegTrainer(nn.Module):
    """A CLIP, its head of clusters, and a teacher; `forward` gives the losses.

    Args:
        size: Architecture.
        vision: Whether crops are distilled.
    """

    def __init__(self, size: ClipSize, *, vision: bool = True) -> None:
        super().__init__()
        self.model, self.words = clips.build(size), Words()
        encoder: Any = self.model.visual
        # What is drawn at random between the places of crops would stay: they are interpolated.
        nn.init.zeros_(encoder.positional_embedding)
        self.head = ClusterHead(self.model)
        self.dino, self.patch = None, size.patch
        if vision:
            of_dino = DinoSize(side=size.side, patch=size.patch, width=size.width)
            self.dino = DinoTrainer(of_dino, ClipBranch(of_dino, encoder))

    def images(self, batch: Batch) -> Tensor:
        """Unit features (B, E) of a batch's images, as micro-clip's training sees them."""
        if batch.whole:
            found: Tensor = self.model.encode_image(batch.pixels, normalize=True).float()
            return found
        return clips.image_features(self.model, batch.pixels, batch.rng)

    @torch.no_grad()
    def patches(self, pixels: Tensor) -> Tensor:
        """Patches (B, h, w, D) of images (B, 3, S, S) as the last layer leaves them."""
        vision: Any = self.model.visual
        tokens = through(vision.transformer.resblocks, vision._embeds(pixels))[:, 1:]
        return tokens.unflatten(1, vision.grid_size)

    def distilled(self, batch: Batch) -> dict[str, Tensor]:
        """What `DinoTrainer.forward` says of a batch's crops; nothing is learnt without it."""
        if self.dino is None:
            return {"dino": torch.zeros(())}
        if self.training:  # the student has moved since the last step
            self.dino.follow(rising(MOMENTUM, batch.done))
        number = int(batch.rng.integers(len(LARGE_GRIDS)))
        large, small = views(batch.pictures, self.patch, number, batch.rng)
        how = {"late": bool(batch.rng.random() < LATE), "still": batch.done < STILL}
        found: dict[str, Tensor] = self.dino(large, small, **how)
        return found

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch, the share of images whose caption is found, and clusters in use."""
        texts = caption_features(self.model, batch.compared, self.words)
        loss, found = batch.contrast(self.images(batch) @ texts.T, self.model.logit_scale)
        shares = self.head(self.patches(batch.pixels))
        return {
            "contrastive": loss,
            "cluster": -mutual_information(shares),
            "found": found,
            "clusters": torch.tensor(float(len(shares.argmax(-1).unique()))),
            **self.distilled(batch),
        }


def mutual_information(shares: Tensor) -> Tensor:
    """What the cluster of a patch says of its neighbour's, in nats: 0 to ln C.

    Args:
        shares: (B, h, w, C) of the clusters in each patch, adding up to 1. A patch's neighbours
            are those beside, above and below it.
    """
    with torch.autocast(shares.device.type, enabled=False):
        down = torch.einsum("byxi,byxj->ij", shares[:, :-1], shares[:, 1:])
        across = torch.einsum("byxi,byxj->ij", shares[:, :, :-1], shares[:, :, 1:])
        both = down + across
        joint = (both + both.T) / (2 * both.sum())
        logs = joint.clamp(min=1e-12).log()
        own = joint.sum(0).clamp(min=1e-12).log()
        return (joint * (logs - own[:, None] - own)).sum()


@dataclass(frozen=True)
class AfterVilSeg(Plan):
    """micro-after-vil-seg, see `ovsslib.trained.system.Plan`; `vision` as in its trainer."""

    vision: bool = True

    def size(self, **given: Any) -> ClipSize:
        """The architecture; what is not given is micro-clip's."""
        return ClipSize(**given)

    def make(self, size: ClipSize, train: CaptionData) -> System:
        """The system at random."""
        del train
        trainer = AfterVilSegTrainer(size, vision=self.vision)
        scores = clip_scores(trainer.model, trainer.words)
        return System(trainer, WEIGHTS, scores, partial(save, trainer, size))


def save(trainer: AfterVilSegTrainer, size: ClipSize, folder: Path) -> None:
    """Write the head, and the CLIP in a folder inside."""
    clips.save(trainer.model, size, folder / "clip")
    save_head(folder, "after-vil-seg", ("clip", trainer.model), trainer.head)
