"""GroupViT (Xu et al. 2022, CVPR): patches gather into groups, and groups are compared with names.

Learned group tokens take patches in two stages. A group's features are compared with the names as
an image's are in CLIP; its score for a name is

    softmax over all names (s cos) * softmax over the kept names (s cos),

where s is the model's scale (100 at most) and the names that are kept are those which fit the whole
image best. A pixel has the scores of the group that it is assigned to most.

`GroupViTModel(output_segmentation=True)` gives neither these scores nor probabilities: it sums
cosines over groups, softly, and multiplies them with the scale twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.lookup import Count, Share
from ovsslib.peers.dense import DenseClip, DenseConfig
from ovsslib.peers.hub_tower import HubTower
from ovsslib.peers.method import builder
from ovsslib.pnp.refine import peak_scores
from ovsslib.protocols.adapter import PROBABILITIES

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.pnp.result import Segmentation

Published = Literal["voc21", "context60", "coco-object81"]
PUBLISHED = dict(zip(get_args(Published), (0.95, 0.35, 0.95), strict=True))
"""Data set -> threshold in the configurations of the released code."""


@dataclass(frozen=True)
class GroupVitConfig(DenseConfig):
    """Settings of GroupViT, besides those of every dense method.

    Attributes:
        prompt: Words before a name; a full stop follows it.
        top: How many names are kept for an image (or window); None for all, and the first softmax
            alone.
        soft: Whether a pixel mixes the scores of all groups as they share it.
        background_threshold: Pixels whose best score is below it are background; but the best
            group of an image (or window) never is. A number, or the name of the data set that the
            authors chose one for, see `GroupVit.published`. None leaves background to the protocol.
    """

    prompt: str = "a photo of a"
    top: Count | None = 5
    soft: bool = False
    background_threshold: Share | Published | None = None


class GroupTower(HubTower):
    """GroupViT of transformers."""

    what, classes = "GroupViT", {"groupvit": "GroupViTModel"}

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features (N, E) of N texts."""
        found: Tensor = self.model.get_text_features(**self.tokens(texts)).pooler_output
        return found

    def groups(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Groups of images (B, 3, S, S), which may have another side than in training.

        Returns:
            Unit features (B, G, E) of the G groups, those (B, E) of the image, and how the groups
            share each patch, (B, G, h, w): the product of the stages' assignments.
        """
        model, vision = self.model, self.model.vision_model
        other = pixels.shape[-1] != self.own_side
        start = vision.embeddings(pixels.to(model.dtype), interpolate_pos_encoding=other)
        out = vision.encoder(hidden_states=start, output_attentions=True, return_dict=True)
        tokens = vision.layernorm(out.last_hidden_state)
        every = torch.cat([tokens, tokens.mean(1, keepdim=True)], dim=1)
        # The projection's batch normalisation takes rows of vectors only.
        units = F.normalize(model.visual_projection(every.flatten(0, 1)).float(), dim=-1)
        units = units.unflatten(0, every.shape[:2])
        share = out.attentions[0].float()
        for later in out.attentions[1:]:
            share = later.float() @ share
        side = pixels.shape[-1] // self.patch
        return units[:, :-1], units[:, -1], share.unflatten(2, (side, side))


class GroupVit(DenseClip):
    """GroupViT; planes are products of probabilities.

    `published` holds the thresholds in the configurations of the released code, by data set.

    Args:
        tower: A `GroupTower`.
        config: None for the defaults.
    """

    name = "groupvit"
    planes_are = PROBABILITIES
    settings = GroupVitConfig
    published: ClassVar[Mapping[str, float]] = PUBLISHED
    matcher: Any

    def __init__(self, tower: Any, config: Any = None) -> None:
        super().__init__(tower, config)
        wanted = self.config.background_threshold
        self.threshold: float | None = self.published.get(wanted, wanted)
        if self.threshold is not None:
            self.planes_are = "final"  # a protocol's rules would decide once more

    def sentences(self) -> tuple[Any, ...]:
        """What makes sentences of a name."""
        if self.config.templates is not None:
            return super().sentences()
        return (lambda name: f"{self.config.prompt} {name}.".strip(),)

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, S, S) of images; with a threshold (K + 1, S, S), the last is background's."""
        groups, wholes, shares = self.matcher.groups(pixels)
        shares = F.interpolate(shares, pixels.shape[-2:], mode="bilinear", align_corners=False)
        scale = min(float(self.matcher.model.logit_scale.exp()), 100.0)
        out = []
        for own, whole, share, named in zip(groups, wholes, shares, texts, strict=True):
            scores = group_scores(own @ named.mT * scale, named @ whole, self.config.top)
            weights = share
            if not self.config.soft:
                best = share.argmax(0)
                weights = F.one_hot(best, len(share)).permute(2, 0, 1).to(share)
            planes = torch.einsum("gk,ghw->khw", scores, weights)
            if self.threshold is not None:
                highest = planes if self.config.soft else scores
                level = min(self.threshold, float(highest.max()))
                planes = torch.cat([planes, (planes.amax(0) < level)[None].to(planes)])
            out.append(planes)
        return out

    def segment_batch(
        self, images: Sequence[Any], classes_per_image: Sequence[Sequence[str]], **options: Any
    ) -> list[Segmentation]:
        """Find each image's own classes; there are no stages."""
        found = super().segment_batch(images, classes_per_image, **options)
        return [_without_background(one) for one in found]


def group_scores(logits: Tensor, fit: Tensor, top: int | None) -> Tensor:
    """Scores (G, K) in 0..1 of groups for names.

    Args:
        logits: (G, K) scaled cosines.
        fit: (K,) how well each name fits the whole image.
        top: How many names are kept; None for all, and the first softmax alone.
    """
    first = logits.softmax(-1)
    if top is None:
        return first
    out = torch.ones_like(fit, dtype=torch.bool)
    out[fit.topk(min(top, len(fit))).indices] = False
    return first * logits.masked_fill(out, -torch.inf).softmax(-1)


def _without_background(one: Segmentation) -> Segmentation:
    """The same without a plane that no name belongs to; its pixels get label -1."""
    count = len(one.classes)
    if len(one.planes) == count:
        return one
    labels = np.where(one.labels == count, -1, one.labels).astype(np.int16)
    planes = one.planes[:count]
    return dataclasses.replace(
        one, labels=labels, planes=planes, scores=peak_scores(labels, planes)
    )


build = builder(GroupVit, GroupTower)
