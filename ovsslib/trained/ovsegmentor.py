"""OVSegmentor's training (Xu et al. 2023, CVPR): groups that fill in entities, and agree on masks.

The model is GroupViT's with one grouping (`ovsslib.trained.groupvit`). Losses:

- contrastive: CLIP's, of images and captions.
- entity: the class names in the caption are masked; tokens of what is left look at the groups, and
  the first of them is compared with the sentence "a photo of a NAME and a NAME".
- mask (the last steps only): a momentum copy of the image encoder says which patches of another
  image, whose caption shares a name, belong to each of its groups. The image's own groups are to
  find the same patches there; groups are paired by the Hungarian method, and compared by dice.

Departures: random weights in place of DINO's and BERT's; the text encoder is causal; partners come
from the same batch, and images without one have no loss of masks; the batch's mean of dice has the
weight that 128 images have in the authors' code.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import pair_scores
from ovsslib.miniature.training.teacher import follow
from ovsslib.miniature.training.wordpiece import mentions
from ovsslib.trained.groupvit import GroupVitSize, GroupVitTrainer, save
from ovsslib.trained.system import Batch, Plan, System

WEIGHTS = {"contrastive": 1.0, "entity": 1.0, "mask": 1.6}
LAST = 1 / 6
"""Share of the steps, the last ones, that have the loss of masks."""
MOMENTUM = 0.99
"""Of the copy that says which patches belong to a group."""
SURE = 0.6
"""A patch belongs to a group where its share is at least this much of the group's largest."""
SIZE = GroupVitSize(groups=8)


class OvSegmentorTrainer(GroupVitTrainer):
    """The model, what answers questions, and the momentum copy.

    Args:
        size: Architecture.
        entities: Whether entities are asked for.
    """

    def __init__(self, size: GroupVitSize, *, entities: bool = True) -> None:
        super().__init__(size)
        self.entities, width, heads = entities, size.width, size.heads
        self.look = nn.MultiheadAttention(width, heads, batch_first=True)
        self.talk = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.answer = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )
        self.slow = copy.deepcopy(self.model.vision_model).requires_grad_(requires_grad=False)

    def filled(self, questions: list[str], groups: Tensor) -> Tensor:
        """Unit features (B, E) of what the groups (B, G, D) say to B questions."""
        tokens, values = self.norms[0](self.read(questions)[0]), self.norms[1](groups)
        seen = tokens + self.look(tokens, values, values, need_weights=False)[0]
        seen = self.norms[2](seen + self.feed(seen))
        heard = self.norms[3](self.talk(seen, seen, seen, need_weights=False)[0] + seen)
        return normalize(self.answer(heard[:, 0]).float(), dim=-1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch, and the share of images whose caption is found."""
        captions = [caption.text for caption in batch.compared]
        theta = self.model.logit_scale
        queries, _, groups = asked(self.model.vision_model, batch.pixels)
        pooled = self.model.visual_projection(groups.mean(1))
        images = normalize(pooled.float(), dim=-1)
        loss, found = batch.contrast(images @ self.texts(captions).T, theta)
        figures = {"contrastive": loss, "entity": 0 * loss.detach(), "mask": 0 * loss.detach()}
        if self.entities:
            questions, answers = zip(*map(question, captions), strict=True)
            filled = self.filled(list(questions), groups)
            figures["entity"] = batch.contrast(filled @ self.texts(answers).T, theta)[0]
        if self.training:
            self.follow()
        if batch.done >= 1 - LAST:
            figures["mask"] = self.agreement(batch, captions, queries, groups)
        return figures | {"found": found}

    def follow(self) -> None:
        """Move the momentum copy towards the model."""
        follow(self.slow, self.model.vision_model, MOMENTUM)

    def agreement(
        self, batch: Batch, captions: list[str], queries: Tensor, groups: Tensor
    ) -> Tensor:
        """The loss of masks of a batch, 0 where no two images share a name.

        Args:
            batch: Of B images.
            captions: B texts.
            queries: (B, G, D), see `asked`.
            groups: The same.
        """
        pairs = partners(captions)
        if not pairs:
            return torch.zeros(())
        own, other = torch.tensor([pair[:2] for pair in pairs]).T
        queries, groups = queries[own], groups[own]
        with torch.no_grad():
            target_queries, keys, _ = asked(self.slow, batch.pixels[other])
            projections = (self.model.visual_projection, self.model.text_projection)
            for each in projections:
                each.eval()  # its running means are of whole images and captions
            units = projections[0](groups.flatten(0, 1)).unflatten(0, groups.shape[:2])
            names = self.texts([f"a photo of a {pair[2]}" for pair in pairs])
            for each in projections:
                each.train(self.training)
            fit = (units.float() * names[:, None]).sum(-1)
            weak = fit.argsort(1)[:, : fit.shape[1] // 2]
        found = masks(queries, keys)
        held = torch.zeros_like(fit, dtype=torch.bool).scatter(1, weak, value=True)
        found = torch.where(held[..., None, None], found.detach(), found)
        target = masks(target_queries, keys).sigmoid()
        target = (target >= SURE * target.amax((2, 3), keepdim=True)).float()
        return torch.stack(
            [dice(one, truth[paired(one, truth)]) for one, truth in zip(found, target, strict=True)]
        ).mean()


def question(caption: str) -> tuple[str, str]:
    """A caption with its class names masked, and the sentence that names them.

    A caption without one asks for itself.

    Example:
        >>> question("a red car on grass")
        ('a red [MASK] on [MASK]', 'a photo of a car and a grass')
    """
    found = mentions(caption)
    if not found:
        return caption, caption
    masked = caption
    for start, end, _ in reversed(found):
        masked = f"{masked[:start]}[MASK]{masked[end:]}"
    names = dict.fromkeys(name for _, _, name in found)
    return masked, "a photo of " + " and ".join(f"a {name}" for name in names)


def partners(captions: list[str]) -> list[tuple[int, int, str]]:
    """For each image another one whose caption shares a name, and the name, where there is one."""
    names = [[name for _, _, name in mentions(caption)] for caption in captions]
    out = []
    for i, own in enumerate(names):
        turned = [(i + step) % len(names) for step in range(1, len(names))]
        shared = ((j, name) for j in turned for name in own if name in names[j])
        if (pair := next(shared, None)) is not None:
            out.append((i, *pair))
    return out


def asked(vision: Any, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, G, D), keys (B, P, D) of the grouping block, and the groups that come out.

    Args:
        vision: `GroupViTVisionTransformer`.
        pixels: (B, 3, S, S).
    """
    kept: dict[str, Tensor] = {}
    assign = vision.encoder.stages[0].downsample.assign
    hooks = [
        getattr(assign, f"{name}_proj").register_forward_hook(
            lambda _, given, out, name=name: kept.__setitem__(name, out)
        )
        for name in "qk"
    ]
    try:
        groups = vision(pixel_values=pixels).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    return kept["q"], kept["k"], groups


def masks(queries: Tensor, keys: Tensor) -> Tensor:
    """Scaled products as masks (B, G, 4 h, 4 w) of queries (B, G, D) and keys (B, P, D)."""
    products = (queries @ keys.mT / queries.shape[-1] ** 0.5).float()
    side = round(keys.shape[1] ** 0.5)
    planes = products.unflatten(2, (side, side))
    return interpolate(planes, scale_factor=4, mode="bilinear", align_corners=False)


def paired(found: Tensor, target: Tensor) -> Tensor:
    """For each mask (G, H, W) the target (G, H, W) that is nearest, each taken once."""
    rows, columns = (normalize(each.detach().flatten(1), dim=1) for each in (found, target))
    _, chosen = linear_sum_assignment(torch.cdist(rows, columns).numpy())
    return torch.from_numpy(chosen)


def dice(found: Tensor, target: Tensor) -> Tensor:
    """One less the dice of masks (G, H, W), of all groups together; `found` goes to 0..1 first."""
    low, high = found.amin((1, 2), keepdim=True), found.amax((1, 2), keepdim=True)
    scaled = (found - low) / (high - low + 1e-6)
    return 1 - (2 * (scaled * target).sum() + 1) / (scaled.sum() + target.sum() + 1)


@dataclass(frozen=True)
class OvSegmentor(Plan):
    """micro-ovsegmentor, see `ovsslib.trained.system.Plan`; `entities` as in its trainer."""

    entities: bool = True

    def size(self, **given: Any) -> GroupVitSize:
        """The architecture; what is not given is as shipped."""
        return replace(SIZE, **given)

    def make(self, size: GroupVitSize, train: CaptionData) -> System:
        """The system at random."""
        del train
        trainer = OvSegmentorTrainer(size, entities=self.entities)
        scores = partial(pair_scores, trainer.images, trainer.texts)
        return System(trainer, WEIGHTS, scores, partial(save, trainer, size))
