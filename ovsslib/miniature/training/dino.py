"""micro-dino: a small vision transformer that learns from images alone, as DINO did.

A student sees large and small crops of an image, a teacher the large ones. Whatever crop the
student sees, its output is to be what the teacher says of another. The teacher is a moving average
of the student; a low temperature sharpens its outputs. Source: Caron et al. 2021 (ICCV), with their
colours, crops and temperatures; neither blur nor solarisation, which drawn images have no use for.

Two departures. The teacher's outputs are evened over a batch (`evened`), as in SwAV and DINOv2
(Oquab et al. 2024, TMLR); at the paper's moving centre they fell to a dozen of the prototypes. And,
as in micro-clip, the class token joins in the last layer only in half of the steps: patches must
carry to the end what the image shows, and patches are what is used.

No caption and no mask is looked at.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.models import save_for_hf
from torch import Tensor, nn
from torch.nn.functional import normalize

from ovsslib.lookup import Count, check_names, kinds_of
from ovsslib.miniature.training import cache as data
from ovsslib.miniature.training.blip import MEAN, STD, normalise
from ovsslib.miniature.training.loop import (
    Layers,
    Schedule,
    Side,
    Width,
    batch_indices,
    check_size,
    run,
)
from ovsslib.miniature.training.patches import LATE, through
from ovsslib.miniature.training.recipe import Recipe, load_train, watched
from ovsslib.miniature.training.teacher import follow, rising

LARGE, SMALL = (0.4, 1.0), (0.05, 0.4)
"""Shares of an image's area that crops have."""
SMALL_CROPS = 4
"""Small crops of an image; of large ones there are two."""
LARGE_GRIDS, SMALL_GRID = (6, 7, 8), 4
"""Patches along a crop's side. Sizes of large ones take turns; they are smaller than images, or a
step would take three times as long."""
STUDENT, TEACHER = 0.1, 0.04
"""Temperatures. The paper's teacher may go to 0.07 in long runs; here nothing was learnt then."""
MOMENTUM = 0.98
"""Of the teacher at first; it rises to 1. The paper's 0.996 is for runs many times as long."""
ROUNDS = 3
"""Of `evened`, as in SwAV."""
STILL = 0.01
"""Share of the steps, the first ones, in which the prototypes stay as they are."""


@dataclass(frozen=True)
class DinoSize:
    """Architecture of micro-dino. `side` and `patch` in pixels.

    Attributes:
        hidden: Width of the head's two hidden layers.
        bottleneck: Width of its output, which is compared with prototypes.
        prototypes: How many of them.
    """

    side: Side = 112
    patch: Count = 8
    width: Width = 128
    heads: Count = 4
    layers: Layers = 4
    hidden: Width = 256
    bottleneck: Width = 64
    prototypes: Count = 1024

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_size(self, self.heads)


def dino_size(**given: Any) -> DinoSize:
    """The shipped model's size but for what is given.

    Raises:
        OvssError: micro-dino has no such part.
    """
    check_names("size of micro-dino", given, kinds_of(DinoSize))
    return DinoSize(**given)


def model_args(size: DinoSize) -> dict[str, Any]:
    """The vision transformer in timm's own terms."""
    return {
        "img_size": size.side,
        "patch_size": size.patch,
        "embed_dim": size.width,
        "depth": size.layers,
        "num_heads": size.heads,
        "num_classes": 0,
        "dynamic_img_size": True,
    }


def backbone(size: DinoSize) -> nn.Module:
    """A vision transformer of timm at random."""
    colours = {"mean": MEAN, "std": STD, "input_size": (3, size.side, size.side)}
    whole = timm.create_model(
        "vit_tiny_patch16_224", pretrained_cfg_overlay=colours, **model_args(size)
    )
    # What is drawn at random between the places of crops would stay: they are interpolated.
    nn.init.zeros_(whole.pos_embed)
    return whole


class Branch(nn.Module):
    """Image encoder and head: images to cosines with prototypes.

    Args:
        size: Of the head, too.
        encoder: The image encoder, see `Branch.encode`; None for that of `backbone`.
    """

    def __init__(self, size: DinoSize, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone: Any = backbone(size) if encoder is None else encoder
        self.head = nn.Sequential(
            nn.Linear(size.width, size.hidden),
            nn.GELU(),
            nn.Linear(size.hidden, size.hidden),
            nn.GELU(),
            nn.Linear(size.hidden, size.bottleneck),
        )
        self.prototypes = nn.Parameter(torch.randn(size.prototypes, size.bottleneck))

    def encode(self, pixels: Tensor, *, late: bool) -> Tensor:
        """Class tokens (B, D) of images; arguments as in `Branch.forward`."""
        whole = self.backbone
        tokens = whole.norm_pre(whole._pos_embed(whole.patch_embed(pixels)))
        found: Tensor = whole.norm(through(whole.blocks, tokens, late=late))[:, 0]
        return found

    def forward(self, pixels: Tensor, *, late: bool = False, still: bool = False) -> Tensor:
        """Cosines (B, K) float32 of images.

        Args:
            pixels: (B, 3, S, S), normalised.
            late: See `ovsslib.miniature.training.patches.through`.
            still: Whether the prototypes stay as they are.
        """
        read = self.head(self.encode(pixels, late=late))
        prototypes = self.prototypes.detach() if still else self.prototypes
        with torch.autocast(pixels.device.type, enabled=False):
            return normalize(read.float(), dim=-1) @ normalize(prototypes, dim=-1).T


class DinoTrainer(nn.Module):
    """Student and teacher.

    Args:
        size: Of the head, too.
        student: None for a `Branch` at random.
    """

    def __init__(self, size: DinoSize, student: Branch | None = None) -> None:
        super().__init__()
        self.student = Branch(size) if student is None else student
        self.teacher = copy.deepcopy(self.student).requires_grad_(requires_grad=False)

    def follow(self, momentum: float) -> None:
        """Move the teacher's weights towards the student's."""
        follow(self.teacher, self.student, momentum)

    def forward(
        self,
        large: Tensor,
        small: Tensor,
        *,
        late: bool = False,
        still: bool = False,
    ) -> dict[str, Tensor]:
        """Loss and figures of a batch.

        Args:
            large: Two large crops of B images, (2B, 3, S, S): all first ones, then all second ones.
            small: Small crops (n * B, 3, s, s), the same.
            late: See `Branch.forward`.
            still: The same.

        Returns:
            `dino`, the loss: mean cross-entropy, in nats, of the teacher's output for a large crop
            and the student's for each other crop of the image. `entropy`: mean of the teacher's
            outputs, in nats. `used`: exp(entropy of their mean) as a share of the prototypes.
        """
        with torch.no_grad():
            targets = evened(self.teacher(large, late=late) / TEACHER)
        batch = len(large) // 2
        seen = torch.cat([self.student(part, late=late, still=still) for part in (large, small)])
        logs = (seen / STUDENT).log_softmax(-1).unflatten(0, (-1, batch))
        ends = targets.unflatten(0, (2, batch))
        losses = [
            -(end * log).sum(-1).mean()
            for number, end in enumerate(ends)
            for other, log in enumerate(logs)
            if other != number
        ]
        mean = targets.mean(0)
        return {
            "dino": torch.stack(losses).mean(),
            "entropy": torch.special.entr(targets).sum(-1).mean(),
            "used": torch.special.entr(mean).sum().exp() / len(mean),
        }


def evened(logits: Tensor) -> Tensor:
    """Shares (N, K) of K prototypes in N outputs, with each prototype named about as often.

    Columns and rows are scaled to equal sums in turn (Sinkhorn and Knopp), the rows last. Source:
    Caron et al. 2020 (NeurIPS, SwAV).

    Args:
        logits: (N, K).
    """
    for _ in range(ROUNDS):
        logits = (logits - logits.logsumexp(0)).log_softmax(-1)
    return logits.exp()


def crops(
    pictures: np.ndarray, share: tuple[float, float], side: int, rng: np.random.Generator
) -> Tensor:
    """A crop of each image, with other colours, at times mirrored.

    Args:
        pictures: (B, S, S, 3) uint8.
        share: Least and greatest share of the area; the ratio of the sides is 3/4 to 4/3.
        side: Of the result in pixels.
        rng: Source of randomness.

    Returns:
        (B, 3, side, side), normalised.
    """
    length = pictures.shape[1]
    found = np.empty((len(pictures), side, side, 3), np.uint8)
    for number, picture in enumerate(pictures):
        area, ratio = rng.uniform(*share), math.exp(rng.uniform(-1, 1) * math.log(4 / 3))
        width, height = (
            min(1.0, math.sqrt(each)) * length for each in (area * ratio, area / ratio)
        )
        left, top = rng.uniform(0, length - width), rng.uniform(0, length - height)
        box = (left, top, left + width, top + height)
        crop = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC, box)
        mirror = -1 if rng.random() < 0.5 else 1
        found[number] = np.asarray(crop)[:, ::mirror]
    return normalise(recoloured(found, rng))


def recoloured(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images (B, S, S, 3) uint8 with other colours.

    Four of five get another brightness and contrast (0.6 to 1.4 times), saturation (0.8 to 1.2)
    and hue (each channel 0.9 to 1.1 times); one of five becomes grey.
    """
    count = len(pictures)

    def times(spread: float, channels: int = 1) -> np.ndarray:
        factors = rng.uniform(1 - spread, 1 + spread, (count, 1, 1, channels))
        return np.where(changed, factors, 1.0).astype(np.float32)

    changed = rng.random((count, 1, 1, 1)) < 0.8
    values = pictures.astype(np.float32) * times(0.4) * times(0.1, 3)
    mean = values.mean((1, 2, 3), keepdims=True)
    values = mean + (values - mean) * times(0.4)
    grey = values.mean(-1, keepdims=True)
    saturation = np.where(rng.random((count, 1, 1, 1)) < 0.2, 0.0, times(0.2))
    return (grey + (values - grey) * saturation).round().clip(0, 255).astype(np.uint8)


def views(
    pictures: np.ndarray, patch: int, number: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Large and small crops as `DinoTrainer.forward` takes them.

    Args:
        pictures: (B, S, S, 3) uint8.
        patch: Side of a patch in pixels.
        number: Of the step, which decides how large crops are.
        rng: Source of randomness.
    """
    sides = LARGE_GRIDS[number % len(LARGE_GRIDS)] * patch, SMALL_GRID * patch
    large = [crops(pictures, LARGE, sides[0], rng) for _ in range(2)]
    small = [crops(pictures, SMALL, sides[1], rng) for _ in range(SMALL_CROPS)]
    return torch.cat(large), torch.cat(small)


@torch.no_grad()
def evaluate_dino(
    trainer: DinoTrainer, pictures: np.ndarray, size: DinoSize, batch: int = 100
) -> dict[str, float]:
    """Held-out figures; none needs a label.

    Args:
        trainer: Left in training mode.
        pictures: (N, S, S, 3) uint8, N > 1.
        size: Of the model.
        batch: Images at a time.

    Returns:
        `loss`, `entropy` and `used` of `DinoTrainer.forward`; `crop_at_1`, the share of images
        whose first large crop is most like their own second one among those of all N images; and
        `mirror_at_1`, the share of patches whose most alike patch in the mirrored image is their
        own. Chance is 1 / N and 1 / P.
    """
    trainer.eval()
    rng, encoder = np.random.default_rng(0), trainer.teacher.backbone
    sums: dict[str, float] = {}
    features, same = [], []
    for start in range(0, len(pictures), batch):
        part = pictures[start : start + batch]
        large, small = views(part, size.patch, -1, rng)
        for name, value in trainer(large, small).items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(part) / len(pictures)
        features.append(normalize(encoder(large), dim=-1).unflatten(0, (2, -1)))
        plain, mirrored = (
            normalize(encoder.forward_features(pixels)[:, 1:], dim=-1)
            for pixels in (normalise(part), normalise(part[:, :, ::-1].copy()))
        )
        grid = size.side // size.patch
        mirrored = mirrored.unflatten(1, (grid, grid)).flip(2).flatten(1, 2)
        best = (plain @ mirrored.mT).argmax(-1)
        same.append((best == torch.arange(grid * grid)).float().mean(1))
    trainer.train()
    first, second = torch.cat(features, 1)
    found = (first @ second.T).argmax(1) == torch.arange(len(first))
    sums |= {"crop_at_1": float(found.float().mean()), "mirror_at_1": float(torch.cat(same).mean())}
    figures = {"loss": sums.pop("dino"), **sums}
    return {name: round(value, 4) for name, value in figures.items()}


def save(trainer: DinoTrainer, size: DinoSize, folder: Path) -> None:
    """Write the teacher (float16) where `timm.create_model("local-dir:…")` reads it."""
    half = copy.deepcopy(trainer.teacher.backbone).half()
    save_for_hf(half, str(folder), model_args=model_args(size), safe_serialization=True)


def train_micro_dino(
    schedule: Schedule,
    recipe: Recipe,
    cache: Path,
    folder: Path,
    evaluate_every: int = 250,
    size: DinoSize | None = None,
) -> Iterator[dict[str, Any]]:
    """Train micro-dino; yields a record a step, with held-out figures at times."""
    size = size or DinoSize()
    pictures = load_train(cache, recipe, size.side).pictures
    held = data.load(cache, "heldout", recipe.heldout, size.side, recipe.data_seed).pictures
    torch.manual_seed(schedule.seed)
    trainer = DinoTrainer(size)

    def losses(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        done = step / schedule.steps
        # The student has moved since the last step.
        trainer.follow(rising(MOMENTUM, done))
        index = batch_indices(schedule, step, len(pictures))
        large, small = views(pictures[index], size.patch, step, rng)
        how = {"late": bool(rng.random() < LATE), "still": done < STILL}
        figures: dict[str, Tensor] = trainer(large, small, **how)
        return figures

    everything = {"size": asdict(size), "recipe": asdict(recipe)}
    records = run(trainer, losses, {"dino": 1.0}, schedule, folder, everything)
    yield from watched(
        records,
        folder,
        evaluate_every,
        schedule.steps,
        lambda: evaluate_dino(trainer, held, size),
        partial(save, trainer, size),
    )
