"""A frozen CLIP while a head on it is trained: what it makes of images and of captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ovsslib.errors import OvssError
from ovsslib.lookup import check_fields
from ovsslib.miniature.training.clip import Words, caption_features, text_features
from ovsslib.miniature.training.loop import Side
from ovsslib.miniature.training.negatives import Caption
from ovsslib.peers.tower import Tower
from ovsslib.trained.system import Plan


@dataclass(frozen=True)
class FrozenSize:
    """What the images of a system on a frozen CLIP are like; the rest is the CLIP's."""

    side: Side

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)


@dataclass(frozen=True)
class FrozenPlan(Plan):
    """Base of the plans of systems on a CLIP.

    Attributes:
        clip: Its name, see `ovsslib.peers.tower.Tower`; one that `ovss train micro-clip` made.
    """

    clip: str = "micro-clip"

    def size(self, **given: Any) -> FrozenSize:
        """The CLIP's architecture.

        Raises:
            OvssError: Something is given, or there is no such CLIP.
        """
        if given:
            raise OvssError(
                f"{', '.join(given)}: leave out what a system on a frozen CLIP takes from it"
            )
        return FrozenSize(Tower(self.clip, "cpu").own_side)


class Frozen:
    """micro-clip, or a CLIP that `ovss train micro-clip` made; no weight of it changes.

    Args:
        name: See `ovsslib.peers.tower.Tower`.

    Attributes:
        name: The same.
        tower: The CLIP.
    """

    def __init__(self, name: str = "micro-clip") -> None:
        self.name, self.tower, self.words = name, Tower(name, "cpu"), Words()
        self.tower.model.requires_grad_(requires_grad=False)

    @property
    def named(self) -> tuple[str, open_clip.CLIP]:
        """Its name and the model."""
        return self.name, self.tower.model

    @torch.no_grad()
    def captions(self, compared: Sequence[Caption]) -> Tensor:
        """Unit features (B, E) of B captions."""
        return caption_features(self.tower.model, compared, self.words)

    @torch.no_grad()
    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Unit features (N, E) of N texts."""
        return text_features(self.tower.model, self.words(texts))

    @torch.no_grad()
    def entering(self, pixels: Tensor) -> Tensor:
        """Tokens (B, N, D) that enter the last layer."""
        return self.tower.enter(pixels)

    def images(self, pixels: Tensor) -> Tensor:
        """Unit features (B, E) of images; their gradient goes to the pixels."""
        return normalize(self.tower.model.encode_image(pixels).float(), dim=-1)


class OnFrozen(nn.Module):
    """Base of the trainers of systems on a frozen CLIP, which is no part of their state.

    Args:
        frozen: The CLIP.
    """

    def __init__(self, frozen: Frozen) -> None:
        super().__init__()
        self._frozen = (frozen,)  # in a tuple, so that torch does not see a module

    @property
    def frozen(self) -> Frozen:
        """The CLIP."""
        return self._frozen[0]
