"""What the training of all systems shares: batches of images with captions, and the loop.

Letters: B images with a caption each, E width of the space that images and texts share.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ovsslib.lookup import check_fields
from ovsslib.miniature.training.blip import normalise
from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import compared_captions
from ovsslib.miniature.training.heldout import Scores
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.negatives import Caption
from ovsslib.miniature.training.pairs import contrast_loss, may_fit
from ovsslib.miniature.training.recipe import Architecture, Recipe, Step, load_train, train_matcher
from ovsslib.miniature.training.wordpiece import named


@dataclass(frozen=True)
class Batch(Step):
    """A step, and what all systems make of it.

    Attributes:
        pixels: (B, 3, S, S), its images, normalised, with colour jitter.
        compared: The caption of each that it is compared with.
    """

    pixels: Tensor
    compared: Sequence[Caption]

    @classmethod
    def of(cls, step: Step, list_share: float) -> Batch:
        """A step's batch; a share of the captions is replaced by lists of their names."""
        pixels = normalise(step.pictures, step.rng)
        return cls(
            **vars(step),
            pixels=pixels,
            compared=compared_captions(step.captions, step.rng, list_share),
        )

    @functools.cached_property
    def fits(self) -> Tensor:
        """(B, B) bool: pairs that are neither right nor wrong, see `may_fit`."""
        images = [named(each) for each in self.captions]
        return may_fit(images, [named([one.text]) for one in self.compared])

    def contrast(self, cosines: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's symmetric loss, and the share of images whose caption is found.

        Args:
            cosines: (B, B) of images and captions.
            theta: Logarithm of the scale, which is 100 at most.
        """
        scale = theta.exp().clamp(max=100)
        return contrast_loss((scale * cosines).masked_fill(self.fits, -math.inf))


def start_scale() -> nn.Parameter:
    """Logarithm of a contrast's scale, as CLIP starts it."""
    return nn.Parameter(torch.tensor(math.log(1 / 0.07)))


@dataclass(frozen=True)
class System:
    """A system that is trained.

    Attributes:
        trainer: The network, from a `Batch` to losses and figures.
        weights: Of the losses in their sum.
        scores: Images (N, S, S, 3) uint8 to the function that scores captions of them.
        save: Writes the system to a folder.
    """

    trainer: nn.Module
    weights: dict[str, float]
    scores: Callable[[np.ndarray], Scores]
    save: Callable[[Path], None]


@dataclass(frozen=True)
class Plan:
    """Base of the plans: whatever decides a system besides schedule, images and architecture."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    def size(self, **given: Any) -> Any:
        """The architecture, a dataclass with a `side`; what is not given is as shipped."""
        raise NotImplementedError

    def make(self, size: Any, train: CaptionData) -> System:
        """The system, before training, on the training images and captions."""
        raise NotImplementedError


def train_system(
    schedule: Schedule,
    recipe: Recipe,
    cache: Path,
    folder: Path,
    evaluate_every: int,
    size: Any,
    plan: Plan,
) -> Iterator[dict[str, Any]]:
    """Train a system, see `ovsslib.miniature.training.recipe.train_matcher`.

    Args:
        schedule: Length, rates, batch, seed.
        recipe: Images and captions.
        cache: Drawn images.
        folder: The run's; a run found there is continued.
        evaluate_every: Steps between held-out figures.
        size: Of `plan.size`.
        plan: The system.
    """

    def build(colours: dict[str, frozenset[str]] | None) -> Architecture:
        del colours  # no caption is made false
        system = plan.make(size, load_train(cache, recipe, size.side))

        def losses(step: Step) -> dict[str, Tensor]:
            out: dict[str, Tensor] = system.trainer(Batch.of(step, recipe.list_share))
            return out

        return Architecture(
            system.trainer,
            losses,
            system.weights,
            system.scores,
            system.save,
            threshold=False,
            options=asdict(plan),
        )

    return train_matcher(schedule, recipe, cache, folder, evaluate_every, size, build)
