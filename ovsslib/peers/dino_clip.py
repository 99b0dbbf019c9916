"""What the methods share that use a self-supervised DINO beside CLIP.

CLIP knows what a patch shows, DINO which patches belong together. Both see the same pixels, each
with its own mean and deviation of the colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ovsslib.peers.dense import DenseClip, DenseConfig, builder
from ovsslib.peers.dino import MICRO_DINO, Dino, DinoFeatures, locate

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.peers.tower import Tower


@dataclass(frozen=True)
class DinoConfig(DenseConfig):
    """Settings of a method with a DINO, besides those of every dense method.

    Attributes:
        dino: Name of the DINO, see `ovsslib.peers.dino.locate`.
    """

    dino: str = MICRO_DINO


class DinoClip(DenseClip):
    """A method with one CLIP and one DINO.

    Args:
        tower: The CLIP.
        config: Of the class `settings`; None for the defaults.
        dino: The DINO; None for the one that the settings name, which must be on this machine.
    """

    settings = DinoConfig

    def __init__(self, tower: Tower, config: Any = None, dino: Dino | None = None) -> None:
        super().__init__(tower, config)
        self.dino = dino or Dino(self.config.dino, tower.device)

    def dino_features(self, pixels: Tensor) -> DinoFeatures:
        """What DINO makes of images (B, 3, S, S) that are prepared for CLIP."""
        return self.dino.features(self.matcher.colours(pixels))


def dino_builder(method: type[DinoClip]) -> Callable[..., DenseClip]:
    """What `ovsslib.load` calls for a method with a DINO; as `ovsslib.peers.dense.builder`.

    Args:
        method: Its class.
    """
    build = builder(method)

    def with_dino(
        vlm: Any = None,
        preset: str | None = None,
        device: Any = None,
        dtype: str | None = None,
        *,
        download: bool = False,
        **overrides: Any,
    ) -> DenseClip:
        if download and isinstance(overrides.get("dino"), str):
            locate(overrides["dino"], download=True)  # from here on it is on this machine
        return build(vlm, preset, device, dtype, download=download, **overrides)

    return with_dino
