"""The segmentation model's own match score as a class filter."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.filters.base import MOST, check_limits
from ovsslib.filters.thresholded import Scored

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.vlm.protocol import ImageTextMatcher

THRESHOLDS: dict[str, float] = {"micro-blip": 0.658}
"""Model -> threshold with the best F1 on Diorama's tune split (`ovss filter tune`)."""
UNTUNED = 0.5
"""Threshold for other models: a match is likelier than none. Not tuned."""


@dataclass
class Vlm(Scored):
    """Classes that the matcher finds in the image (the filter named `"vlm"`).

    The image is encoded once, and each class is matched by a text of its own.

    Attributes:
        model: Name, folder or hub id; None for the run's model, or micro-blip outside a run.
        threshold: 0..1, to be exceeded by the match probability; None for the model's own.
        most: Classes per image.
        prompt: Words before the class's name.
        batch: Texts in one pass.
        device: Such as `"cpu"`; None for the best there is.
        dtype: See `ovsslib.vlm.load_vlm`.
    """

    model: str | None = None
    threshold: float | None = None
    most: int = MOST
    prompt: str = "A picture of"
    batch: int = 32
    device: str | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        """No model yet: it is loaded when the first image is asked about."""
        check_limits(self.threshold, self.most)
        if self.batch < 1:
            raise OvssError(f"the filter's batch must be at least 1, got {self.batch}")
        self._matcher: ImageTextMatcher | None = None

    def use(self, matcher: ImageTextMatcher) -> None:
        """Take the run's model where no other is named, so that it is in memory once."""
        if self.model is None:
            self._matcher = matcher

    @property
    def matcher(self) -> ImageTextMatcher:
        """The model, loaded when first wanted."""
        if self._matcher is None:
            from ovsslib.vlm import load_vlm

            self._matcher = load_vlm(self.model or "micro-blip", self.device, self.dtype)
        return self._matcher

    def own_threshold(self) -> float:
        """That of `THRESHOLDS`, else `UNTUNED`."""
        return THRESHOLDS.get(self.matcher.name, UNTUNED)

    @property
    def described(self) -> dict[str, Any]:
        """Model, words and threshold, for results."""
        name = os.path.basename(os.path.normpath(self.matcher.name))
        name = self.matcher.name if self.matcher.name.count("/") == 1 else name
        return {"model": name, "prompt": self.prompt, **super().described}

    def scores(self, dataset: Dataset, name: str) -> np.ndarray:
        """(C,) match probabilities in 0..1."""
        matcher = self.matcher
        tokens = matcher.encode_images(matcher.preprocess([dataset.image(name)]))
        texts = [matcher.tokenize(f"{self.prompt} {text}".strip()) for text in dataset.classes]
        found: list[float] = []
        for start in range(0, len(texts), self.batch):
            some = texts[start : start + self.batch]
            rows = tokens.expand(len(some), -1, -1)
            found += matcher.match(rows, some, layer=1).probability.tolist()
        return np.array(found, np.float64)
