"""What a segmentation method takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ovsslib.types import ImageLike


@dataclass(frozen=True)
class Maps:
    """Salience of one image before refinement: what the model has to say.

    Holds numpy arrays only, so that it travels to worker processes.

    Attributes:
        maps: (K, h, w) float32 summed class maps, not negative.
        classes: K names.
        match: Probability that the prompt matches the image, in [0, 1] (mean over prompts).
        image: (H, W, 3) uint8.
        stages: Intermediate results by name, or None; see `ovsslib.pnp.pipeline.PnPOVSS.maps`.
    """

    maps: np.ndarray
    classes: tuple[str, ...]
    match: float
    image: np.ndarray = field(repr=False)
    stages: Mapping[str, np.ndarray] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Segmentation:
    """One segmented image.

    Attributes:
        labels: (H, W) int16, index into `classes`; -1 where background or nothing.
        planes: (K, H, W) float32 final plane per class: probabilities after the CRF (or the
            softmax), or the refined planes when the CRF is off. Images larger than the
            method's `max_side` keep their planes at that size.
        classes: K names.
        match: Probability that the prompt matches the image, in [0, 1].
        scores: Per class the peak of its plane inside its own pixels, 0 when it has none.
        image: (H, W, 3) uint8.
        stages: Intermediate results by name, or None.
    """

    labels: np.ndarray = field(repr=False)
    planes: np.ndarray = field(repr=False)
    classes: tuple[str, ...]
    match: float
    scores: tuple[float, ...]
    image: np.ndarray = field(repr=False)
    stages: Mapping[str, np.ndarray] | None = field(default=None, repr=False)

    def plot(self, ax: Axes | None = None, *, title: str | None = None) -> Axes:
        """Draw the labels over the image, with a legend; returns the axes."""
        from ovsslib.draw.plots import overlay

        return overlay(self.image, self.labels, self.classes, ax=ax, title=title)


def unlabelled(maps: Maps) -> Segmentation:
    """The result where no class was looked for."""
    size = maps.image.shape[:2]
    labels, planes = np.full(size, -1, np.int16), np.zeros((0, *size), np.float32)
    return Segmentation(labels, planes, (), maps.match, (), maps.image, maps.stages)


class Segmenter(Protocol):
    """Anything that finds given classes in images."""

    name: str
    config: Any

    def segment(
        self, image: ImageLike, classes: Sequence[str], *, stages: bool = False
    ) -> Segmentation:
        """Segment one image (a path, a PIL image or an (H, W, 3) uint8 array)."""
        ...

    def segment_batch(
        self,
        images: Sequence[ImageLike],
        classes_per_image: Sequence[Sequence[str]],
        *,
        stages: bool = False,
    ) -> list[Segmentation]:
        """Segment several images, each with its own classes (none is allowed)."""
        ...
