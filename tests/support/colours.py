"""A segmentation method that is none of the library's: it looks at the colour channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ovsslib.io.images import open_image
from ovsslib.pnp.refine import peak_scores
from ovsslib.pnp.result import Segmentation


class Config:
    """Settings of the method below: none."""

    def to_dict(self) -> dict[str, Any]:
        return {}

    def hash(self) -> str:
        return "0" * 10


class Colours:
    """A method of its own: class k is colour channel k % 3, in 0..1; dark pixels are nothing."""

    name = "colours"

    def __init__(self, planes_are: str | None = None) -> None:
        self.config = Config()
        self.seen: list[tuple[int, int]] = []
        self.batches: list[int] = []
        if planes_are:
            self.planes_are = planes_are

    def segment(self, image: Any, classes: Sequence[str], *, stages: bool = False) -> Segmentation:
        return self.segment_batch([image], [classes], stages=stages)[0]

    def segment_batch(
        self, images: Sequence[Any], classes_per_image: Sequence[Sequence[str]], **_: bool
    ) -> list[Segmentation]:
        self.batches.append(len(images))
        return [
            self._one(np.asarray(open_image(image)), tuple(classes))
            for image, classes in zip(images, classes_per_image, strict=True)
        ]

    def _one(self, image: np.ndarray, classes: tuple[str, ...]) -> Segmentation:
        self.seen.append(image.shape[:2])
        planes = np.zeros((len(classes), *image.shape[:2]), np.float32)
        for k in range(len(classes)):
            planes[k] = image[..., k % 3] / 255
        labels = np.full(image.shape[:2], -1, np.int16)
        if classes:
            labels = np.where(image.max(2) > 60, planes.argmax(0), -1).astype(np.int16)
        return Segmentation(labels, planes, classes, 0.5, peak_scores(labels, planes), image)
