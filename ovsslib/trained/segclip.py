"""SegCLIP's training (Luo et al. 2023, ICML): captions, superpixels, and pixels to be rebuilt.

CLIP and the regions (`ovsslib.peers.segclip`) are trained together, CLIP from its weights. Losses:

- contrastive: CLIP's, of the maximum over the regions and the caption.
- superpixel: how patches are shared by the regions is to be what it is on average in their
  superpixel: the mean of both Kullback-Leibler divergences. The released code takes the softmax of
  *hard* shares, so that both sides are nearly flat and the loss is tiny; with `sharp` the shares
  themselves are compared, and a patch has the superpixel of most of its pixels.
- rebuild: from a quarter of the patches; each is made anew from the regions.

Departures: one decoder layer in place of three, and none before it; 10,000 images, so that
superpixels can be remembered. On drawings superpixels are nearly the truth, which they are not on
photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn.functional import normalize

from ovsslib.miniature.training import clip as clips
from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import ClipSize, caption_features, pair_scores
from ovsslib.peers.head import save_head
from ovsslib.peers.segclip import SegClipHead, regions
from ovsslib.trained.frozen import Frozen, FrozenPlan, FrozenSize
from ovsslib.trained.once import Once
from ovsslib.trained.pixels import PixelDecoder, kept_patches
from ovsslib.trained.superpixels import patch_superpixels
from ovsslib.trained.system import Batch, System

KEPT = 0.25
"""Share of the patches that pixels are rebuilt from."""
WEIGHTS = {"contrastive": 1.0, "superpixel": 1.0, "rebuild": 1.0}


class SegClipTrainer(nn.Module):
    """CLIP, its regions and a decoder of pixels.

    Args:
        start: The CLIP that training starts from; it is changed.
        sharp: See the module.
        superpixels: Whether there is a loss of superpixels.
    """

    def __init__(self, start: Frozen, *, sharp: bool = False, superpixels: bool = True) -> None:
        super().__init__()
        self.model = start.tower.model.float().requires_grad_(requires_grad=True)
        self.words, self.sharp = start.words, sharp
        vision: Any = self.model.visual
        patch, width = vision.patch_size[0], vision.conv1.out_channels
        count = len(vision.positional_embedding) - 1
        self.head = SegClipHead(self.model)
        centres = len(self.head.centres)
        self.mix = nn.Linear(centres, centres)
        self.pixels = PixelDecoder(width, count, patch)
        found = Once(partial(patch_superpixels, patch=patch, vote=sharp))
        self.superpixels = found if superpixels else None

    def patches(self, pixels: Tensor, kept: Tensor | None = None) -> Tensor:
        """Patches (B, K, D) that leave the layer before the last; they see no class token.

        Args:
            pixels: (B, 3, S, S).
            kept: (B, K) numbers of the patches that are seen; None for all.
        """
        vision: Any = self.model.visual
        tokens = vision._embeds(pixels)[:, 1:]
        if kept is not None:
            tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
        for layer in vision.transformer.resblocks[:-1]:
            tokens = layer(tokens)
        return tokens

    def images(self, pixels: Tensor) -> Tensor:
        """Unit features (B, E) of images."""
        return normalize(regions(self.model, self.head, self.patches(pixels))[1].float(), dim=-1)

    def texts(self, texts: list[str]) -> Tensor:
        """Unit features (N, E) of N texts."""
        found: Tensor = self.model.encode_text(self.words(texts), normalize=True)
        return found

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch, and the share of images whose caption is found."""
        _, whole, hard, soft = regions(self.model, self.head, self.patches(batch.pixels))
        texts = caption_features(self.model, batch.compared, self.words)
        cosines = normalize(whole.float(), dim=-1) @ texts.T
        loss, found = batch.contrast(cosines, self.model.logit_scale)
        agreed = 0 * loss.detach()
        if self.superpixels is not None:
            numbers = self.superpixels(batch.pictures)
            agreed = agreement(soft if self.sharp else hard.softmax(1), hard, numbers, self.sharp)
        kept = kept_patches(len(batch.pixels), soft.shape[-1], KEPT, batch.rng)
        gathered, share, _ = self.head(self.patches(batch.pixels, kept))
        mixed = self.mix(share.to(gathered).mT) @ gathered
        tokens = QuickGELU()(mixed)
        return {
            "contrastive": loss,
            "superpixel": agreed,
            "rebuild": self.pixels.loss(tokens, kept, batch.pixels),
            "found": found,
        }


def agreement(shares: Tensor, hard: Tensor, numbers: Tensor, sharp: bool) -> Tensor:
    """How far shares are from their means within superpixels, per patch and region.

    Args:
        shares: (B, C, P) of the regions in each patch, adding up to 1.
        hard: (B, C, P) the same, one-hot.
        numbers: (B, P) of superpixels.
        sharp: Whether means are of `shares`; as released, they are of `hard`, before a softmax.
    """
    same = (numbers[:, :, None] == numbers[:, None]).to(shares)
    same = same / same.sum(-1, keepdim=True)
    means = (shares if sharp else hard.to(shares)) @ same.mT
    means = means if sharp else means.softmax(1)
    first, second = (each.clamp(min=1e-6).log() for each in (shares, means))
    both = (shares * (first - second)).sum() + (means * (second - first)).sum()
    found: Tensor = both / 2 / shares.numel()
    return found


@dataclass(frozen=True)
class SegClip(FrozenPlan):
    """micro-segclip, see `ovsslib.trained.system.Plan`.

    Attributes:
        sharp: See `SegClipTrainer`.
        superpixels: The same.
    """

    sharp: bool = False
    superpixels: bool = True

    def make(self, size: FrozenSize, train: CaptionData) -> System:
        """The system on the CLIP's weights."""
        del size, train
        trainer = SegClipTrainer(Frozen(self.clip), sharp=self.sharp, superpixels=self.superpixels)
        scores = partial(pair_scores, trainer.images, trainer.texts)
        return System(trainer, WEIGHTS, scores, partial(save, trainer))


def save(trainer: SegClipTrainer, folder: Path) -> None:
    """Write the regions, and the CLIP in a folder inside."""
    vision: Any = trainer.model.visual
    size = ClipSize(
        side=vision.image_size[0],
        patch=vision.patch_size[0],
        width=vision.conv1.out_channels,
        image_layers=len(vision.transformer.resblocks),
        text_layers=len(trainer.model.transformer.resblocks),
    )
    clips.save(trainer.model, size, folder / "clip")
    save_head(folder, "segclip", ("clip", trainer.model), trainer.head)
