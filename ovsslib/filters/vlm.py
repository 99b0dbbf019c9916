"""The segmentation model's own match score as a class filter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.filters.base import MOST
from ovsslib.filters.thresholded import ThresholdedFilter
from ovsslib.lookup import Count, Share, check_fields
from ovsslib.vlm import find_checkpoint

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.types import Progress
    from ovsslib.vlm.protocol import ImageTextMatcher


@dataclass
class Vlm(ThresholdedFilter):
    """Classes whose text the matcher takes for a match (the filter named `"vlm"`).

    The image is encoded once, and each class is matched by a text of its own.

    Attributes:
        model: Name, folder or hub id; None for the run's model, or micro-blip outside a run.
        threshold: 0..1, to be exceeded by the match probability; None for the model's own.
        most: Most classes per image.
        prompt: Words before the class's name.
        batch: Texts in one pass.
        device: Such as `"cpu"`; None for the best there is.
        dtype: See `ovsslib.vlm.load_vlm`.
    """

    model: str | None = None
    threshold: Share | None = None
    most: Count = MOST
    prompt: str = "A picture of"
    batch: Count = 32
    device: str | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        """Check the settings; the model is loaded when it is first needed."""
        check_fields(self, "vlm's ")
        self._matcher: ImageTextMatcher | None = None

    def prepare(
        self, dataset: Dataset, names: Sequence[str], progress: Progress | None = None
    ) -> None:
        """Look for the model before the first image is read.

        Raises:
            OvssError: It is not on this machine.
        """
        if self.model is not None:
            find_checkpoint(self.model)

    def fetch(self) -> None:
        """Fetch the model, where one is named."""
        if self.model is not None:
            find_checkpoint(self.model, download=True)

    def use(self, matcher: ImageTextMatcher) -> None:
        """Take the run's model where no other is named, so that it is in memory once."""
        if self.model is None:
            self._matcher = matcher

    @property
    def matcher(self) -> ImageTextMatcher:
        """The model, loaded when first needed."""
        if self._matcher is None:
            from ovsslib.vlm import load_vlm

            self._matcher = load_vlm(self.model or "micro-blip", self.device, self.dtype)
        return self._matcher

    @property
    def label(self) -> str:
        """A hub id as it is; of a path, its last part."""
        name = self.matcher.name
        return name if name.count("/") == 1 else os.path.basename(os.path.normpath(name))

    @property
    def described(self) -> dict[str, Any]:
        """Model, prompt, threshold and number of classes."""
        return {**super().described, "prompt": self.prompt}

    def scores(self, dataset: Dataset, name: str) -> np.ndarray:
        """(C,) match probabilities in 0..1."""
        matcher = self.matcher
        tokens = matcher.encode_images(matcher.preprocess([dataset.image(name)]))
        texts = [matcher.tokenize(f"{self.prompt} {text}".strip()) for text in dataset.classes]
        probabilities: list[float] = []
        for start in range(0, len(texts), self.batch):
            batch = texts[start : start + self.batch]
            rows = tokens.expand(len(batch), -1, -1)
            probabilities += matcher.match(rows, batch, layer=1).probability.tolist()
        return np.array(probabilities, np.float64)
