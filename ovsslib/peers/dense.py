"""What all methods share that compare patches of a CLIP with names.

A method says how patches get their features (`DenseClip.features`); it may also say how features
and names become scores (`DenseClip.scores`), or look at an image more than once
(`DenseClip.planes`). Scores are brought to the image's size, and the highest one wins, or whatever
the protocol's rules say (`ovsslib.protocols.adapter`).

Letters: B images, K names, P = h * w patches, E width of the space that images and texts share,
S side in pixels.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.io.images import open_image
from ovsslib.lookup import Count
from ovsslib.peers.method import Settings
from ovsslib.peers.method import builder as method_builder
from ovsslib.peers.tower import Tower
from ovsslib.pnp.config import LATER, Distances, Rounds
from ovsslib.pnp.prompt import check_classes
from ovsslib.pnp.refine import agreed, peak_scores
from ovsslib.pnp.resample import upsample
from ovsslib.pnp.result import Segmentation
from ovsslib.protocols.adapter import LOGITS
from ovsslib.protocols.templates import templates
from ovsslib.vlm.finite import check_scores
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ovsslib.protocols.protocol import Protocol
    from ovsslib.types import ImageLike

SMALL = 224
"""Models that were trained on images with a smaller side see windows at their own size, too."""


@dataclass(frozen=True)
class DenseConfig(Settings):
    """Settings of every method that compares patches of a CLIP with names.

    Attributes:
        prompt: Words before a name, where there are no templates.
        templates: A set of sentences, see `ovsslib.protocols.templates`; None for the prompt. A
            protocol that names one sets it.
        image_size: Side S in pixels that images, or a protocol's windows, are brought to; None for
            the windows' own side, and for whole images the model's. A model that was trained on
            images with a side below `SMALL`, such as micro-clip, sees windows, too, at its own.
        pamr: Iterations of pixel-adaptive mask refinement (`ovsslib.pnp.pamr`), 0 for none. It
            works on scores at the image's size. Where a protocol cuts windows, each window's are
            refined and the windows averaged afterwards; NACLIP's code averages first.
        pamr_dilations: Distances in pixels of the neighbours that it looks at.
    """

    later: ClassVar[tuple[str, ...]] = ("templates", "image_size", *LATER)
    prompt: str = "a picture of a"
    templates: str | None = None
    image_size: Count | None = None
    pamr: Rounds = 0
    pamr_dilations: Distances = (8, 16)

    def __post_init__(self) -> None:
        """Check types and ranges."""
        super().__post_init__()
        object.__setattr__(self, "pamr_dilations", tuple(self.pamr_dilations))
        if self.templates is not None:
            templates(self.templates)


@dataclass(frozen=True)
class PhotoConfig(DenseConfig):
    """Settings of a method that asks for "a photo of a" name, and has none of its own."""

    prompt: str = "a photo of a"


class DenseClip:
    """A method with one CLIP, see `ovsslib.pnp.result.Segmenter`; planes are cosines.

    Args:
        tower: The CLIP.
        config: Of the class `settings`; None for the defaults.
    """

    name: ClassVar[str]
    settings: ClassVar[type[DenseConfig]] = DenseConfig
    planes_are = LOGITS

    def __init__(self, tower: Tower, config: Any = None) -> None:
        self.matcher = tower
        self.config: Any = config or self.settings()

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S), of any length."""
        raise NotImplementedError

    def scores(self, features: Tensor, texts: Tensor, side: int) -> Tensor:
        """Scores (K, h, w) of one image.

        Args:
            features: (P, E) unit vectors of its patches.
            texts: (K, E) the same of the names.
            side: h = w.
        """
        return (texts @ features.mT).unflatten(1, (side, -1))

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores of images, by default of one look at each.

        Args:
            pixels: (B, 3, S, S).
            texts: For each image (K, E) unit vectors of its names, at least one.

        Returns:
            For each image (K, h, w).
        """
        return self.compare(self.features(pixels), texts)

    def compare(self, features: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, h, w) of images from features (B, P, E) of any length; else see `planes`."""
        units = F.normalize(features.float(), dim=-1)
        side = round(units.shape[1] ** 0.5)
        return [self.scores(own, named, side) for own, named in zip(units, texts, strict=True)]

    def for_protocol(self, protocol: Protocol) -> DenseClip:
        """The same method with a protocol's sentences, and with windows at their own size."""
        changes: dict[str, Any] = {}
        if protocol.templates and self.config.templates is None:
            changes["templates"] = protocol.templates
        large = self.matcher.own_side >= SMALL
        if protocol.window and self.config.image_size is None and large:
            changes["image_size"] = protocol.window.crop
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config, **changes)
        return other

    def segment(
        self, image: ImageLike, classes: Sequence[str], *, stages: bool = False
    ) -> Segmentation:
        """Find classes in one image."""
        return self.segment_batch([image], [check_classes(classes)], stages=stages)[0]

    def segment_batch(
        self,
        images: Sequence[ImageLike],
        classes_per_image: Sequence[Sequence[str]],
        *,
        stages: bool = False,
    ) -> list[Segmentation]:
        """Find each image's own classes; there are no stages."""
        del stages
        opened = [open_image(image) for image in images]
        names = [check_classes(classes, allow_empty=True) for classes in classes_per_image]
        return [
            decided(image, planes, classes, self._refined)
            for image, planes, classes in zip(
                opened, self._planes(opened, names), names, strict=True
            )
        ]

    def _refined(self, image: Image.Image, planes: np.ndarray) -> np.ndarray:
        """Scores (K, H, W) of an image after PAMR, if the settings want it."""
        config = self.config
        if not config.pamr:
            return planes
        return agreed(planes, np.asarray(image), config.pamr, config.pamr_dilations)

    @own_state()
    def _planes(
        self, images: list[Image.Image], classes_per_image: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """Scores (K, h, w) of each image; none where nothing is looked for."""
        planes = [np.zeros((0, 1, 1), np.float32) for _ in images]
        sought = [index for index, classes in enumerate(classes_per_image) if classes]
        if not sought:
            return planes
        pixels = self.matcher.prepare([images[index] for index in sought], self.config.image_size)
        sentences = self.sentences()
        texts = [self.matcher.texts(classes_per_image[index], sentences) for index in sought]
        with torch.no_grad():
            for index, found in zip(sought, self.planes(pixels, texts), strict=True):
                planes[index] = found.float().cpu().numpy()
                check_scores(planes[index], self.matcher.name)
        return planes

    def sentences(self) -> tuple[Callable[[str], str], ...]:
        """What makes sentences of a name."""
        if self.config.templates is not None:
            return templates(self.config.templates)
        return (lambda name: f"{self.config.prompt} {name}".strip(),)


def decided(
    image: Image.Image,
    planes: np.ndarray,
    classes: Sequence[str],
    refine: Callable[[Image.Image, np.ndarray], np.ndarray] | None = None,
) -> Segmentation:
    """The highest plane at every pixel of an image.

    Args:
        image: Of H by W pixels.
        planes: (K, h, w) scores.
        classes: K names.
        refine: From the image and its scores (K, H, W) to others; None keeps them.
    """
    size = (image.height, image.width)
    labels = np.full(size, -1, np.int16)
    full = np.zeros((len(classes), *size), np.float32)
    if classes:
        full = upsample(planes, size)
        if refine is not None:
            full = refine(image, full)
        labels = full.argmax(0).astype(np.int16)
    peaks = peak_scores(labels, full)
    return Segmentation(labels, full, tuple(classes), 1.0, peaks, np.asarray(image))


def builder(method: type[DenseClip]) -> Callable[..., Any]:
    """What `ovsslib.load` calls for a method on a `Tower`, see `ovsslib.peers.method.builder`."""
    return method_builder(method, Tower)
