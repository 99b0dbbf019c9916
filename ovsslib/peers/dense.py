"""What all methods share that compare patches of a CLIP with names.

A method says how patches get their features (`DenseClip.features`); it may also say how features
and names become scores (`DenseClip.scores`). Scores are brought to the image's size, and the
highest one wins, or whatever the protocol's rules say (`ovsslib.protocols.adapter`).

Letters: B images, K names, P = h * w patches, E width of the space that images and texts share,
S side in pixels.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError
from ovsslib.io.images import open_image
from ovsslib.io.json import digest
from ovsslib.lookup import Count, check_fields, check_names, kinds_of
from ovsslib.peers.tower import Tower
from ovsslib.pnp.refine import peak_scores
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

MICRO = ("micro-clip",)
"""Models that know one size of images only."""


@dataclass(frozen=True)
class DenseConfig:
    """Settings of every method that compares patches of a CLIP with names.

    Attributes:
        prompt: Words before a name, where there are no templates.
        templates: A set of sentences, see `ovsslib.protocols.templates`; None for the prompt. A
            protocol that names one sets it.
        image_size: Side S in pixels that images, or a protocol's windows, are brought to; None for
            the windows' own side, and for whole images the model's. micro-clip sees windows, too,
            at its own side.
    """

    prompt: str = "a picture of a"
    templates: str | None = None
    image_size: Count | None = None

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)
        if self.templates is not None:
            templates(self.templates)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return dataclasses.asdict(self)

    def hash(self) -> str:
        """Ten hexadecimal characters that change when any field does."""
        return digest(self.to_dict(), 10)


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

    def for_protocol(self, protocol: Protocol) -> DenseClip:
        """The same method with a protocol's sentences, and with windows at their own size."""
        changes: dict[str, Any] = {}
        if protocol.templates and self.config.templates is None:
            changes["templates"] = protocol.templates
        if protocol.window and self.config.image_size is None and self.matcher.name not in MICRO:
            changes["image_size"] = protocol.window.crop
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config, **changes)
        return other

    def segment(
        self, image: ImageLike, classes: Sequence[str], *, stages: bool = False
    ) -> Segmentation:
        """Find classes in one image."""
        return self.segment_batch([image], [classes], stages=stages)[0]

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
        return [
            decided(image, planes, classes)
            for image, planes, classes in zip(
                opened, self._planes(opened, classes_per_image), classes_per_image, strict=True
            )
        ]

    @own_state()
    def _planes(
        self, images: list[Image.Image], classes_per_image: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """Scores (K, h, w) of each image; none where nothing is looked for."""
        if not any(classes_per_image):
            return [np.zeros((0, 1, 1), np.float32) for _ in images]
        pixels = self.matcher.prepare(images, self.config.image_size)
        with torch.no_grad():
            features = F.normalize(self.features(pixels).float(), dim=-1)
            side = round(features.shape[1] ** 0.5)
            planes = []
            for own, classes in zip(features, classes_per_image, strict=True):
                found = np.zeros((0, side, side), np.float32)
                if classes:
                    texts = self.matcher.texts(classes, self.sentences())
                    found = self.scores(own, texts, side).float().cpu().numpy()
                    check_scores(found, self.matcher.name)
                planes.append(found)
        return planes

    def sentences(self) -> tuple[Callable[[str], str], ...]:
        """What makes sentences of a name."""
        if self.config.templates is not None:
            return templates(self.config.templates)
        return (lambda name: f"{self.config.prompt} {name}".strip(),)


def decided(image: Image.Image, planes: np.ndarray, classes: Sequence[str]) -> Segmentation:
    """The highest plane at every pixel of an image.

    Args:
        image: Of H by W pixels.
        planes: (K, h, w) scores.
        classes: K names.
    """
    size = (image.height, image.width)
    labels = np.full(size, -1, np.int16)
    full = np.zeros((len(classes), *size), np.float32)
    if classes:
        full = upsample(planes, size)
        labels = full.argmax(0).astype(np.int16)
    peaks = peak_scores(labels, full)
    return Segmentation(labels, full, tuple(classes), 1.0, peaks, np.asarray(image))


def builder(method: type[DenseClip]) -> Callable[..., DenseClip]:
    """What `ovsslib.load` calls for a method.

    Args:
        method: Its class.

    Returns:
        A function of `vlm` (a name, see `Tower`, or one that is loaded), `preset` (there is none),
        `device`, `dtype`, `download`, and of the fields of the method's settings.
    """

    def build(
        vlm: str | os.PathLike[str] | Tower = "micro-clip",
        preset: str | None = None,
        device: Any = None,
        dtype: str | None = None,
        *,
        download: bool = False,
        **overrides: Any,
    ) -> DenseClip:
        if preset is not None:
            raise OvssError(f"{method.name} has no presets; leave the preset out")
        owner: Any = method.settings
        check_names("setting", overrides, kinds_of(owner))
        config = method.settings(**overrides)
        if isinstance(vlm, Tower):
            return method(vlm, config)
        return method(Tower(os.fspath(vlm), device, dtype, download=download), config)

    return build
