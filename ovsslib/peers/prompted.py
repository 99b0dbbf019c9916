"""What methods share that answer each name with a probability per pixel.

They were trained with masks or boxes for phrases. Where no name reaches the threshold, a pixel is
background; under a protocol with windows or rules of its own, those decide.

Letters: K names, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ovsslib.io.images import open_image
from ovsslib.lookup import Share
from ovsslib.peers.method import Settings
from ovsslib.pnp.prompt import check_classes
from ovsslib.pnp.refine import peak_scores
from ovsslib.pnp.resample import upsample
from ovsslib.pnp.result import Segmentation
from ovsslib.protocols.adapter import PROBABILITIES
from ovsslib.vlm.finite import check_scores
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from PIL import Image

    from ovsslib.types import ImageLike


@dataclass(frozen=True)
class PromptedConfig(Settings):
    """Settings of every such method.

    Attributes:
        threshold: A pixel that no name has with this probability is background.
    """

    threshold: Share = 0.5


class Prompted:
    """A method with one model, see `ovsslib.pnp.result.Segmenter`; planes are probabilities.

    Args:
        matcher: The model.
        config: Of the class `settings`; None for the defaults.
    """

    name: ClassVar[str]
    settings: ClassVar[type[PromptedConfig]] = PromptedConfig
    planes_are = PROBABILITIES

    def __init__(self, matcher: Any, config: Any = None) -> None:
        self.matcher = matcher
        self.config: Any = config or self.settings()

    def planes(self, image: Image.Image, names: Sequence[str]) -> np.ndarray:
        """Probabilities (K, h, w) of K >= 1 names, at any resolution."""
        raise NotImplementedError

    def segment(
        self, image: ImageLike, classes: Sequence[str], *, stages: bool = False
    ) -> Segmentation:
        """Find classes in one image."""
        return self.segment_batch([image], [check_classes(classes)], stages=stages)[0]

    @own_state()
    def segment_batch(
        self,
        images: Sequence[ImageLike],
        classes_per_image: Sequence[Sequence[str]],
        *,
        stages: bool = False,
    ) -> list[Segmentation]:
        """Find each image's own classes, one image after another; there are no stages."""
        del stages
        return [
            self._one(open_image(image), check_classes(classes, allow_empty=True))
            for image, classes in zip(images, classes_per_image, strict=True)
        ]

    def _one(self, image: Image.Image, classes: Sequence[str]) -> Segmentation:
        size = (image.height, image.width)
        full, labels = np.zeros((0, *size), np.float32), np.full(size, -1, np.int16)
        if classes:
            full = self.planes(image, classes)
            check_scores(full, self.matcher.name)
            if full.shape[1:] != size:
                full = upsample(full, size)
            peak = full.max(0)
            bare = (peak < self.config.threshold) | (peak == 0)
            labels = np.where(bare, -1, full.argmax(0)).astype(np.int16)
        peaks = peak_scores(labels, full)
        return Segmentation(labels, full, tuple(classes), 1.0, peaks, np.asarray(image))
