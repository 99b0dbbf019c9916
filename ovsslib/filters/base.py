"""The class filter: what it must do, and the two filters that need no model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.types import Progress
    from ovsslib.vlm.protocol import ImageTextMatcher

MOST = 25
"""Most classes per image (the paper's)."""


class ClassFilter(ABC):
    """Says which classes to look for in an image.

    A filter with settings is a dataclass; its fields are what `get_filter` accepts.
    """

    @abstractmethod
    def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
        """The classes to look for in one image.

        Args:
            dataset: Where image and label map are.
            name: Name of the image.

        Returns:
            Labels 1..C in rising order, without background and void; may be empty.

        Raises:
            OvssError: The image cannot be read, or nothing is known about it.
        """

    def prepare(  # noqa: B027 - not every filter prepares
        self, dataset: Dataset, names: Sequence[str], progress: Progress | None = None
    ) -> None:
        """Called once before a run with all its images; does nothing unless overridden."""

    def fetch(self) -> None:  # noqa: B027 - nor has a model
        """Fetch what is not on this machine; does nothing unless overridden.

        Raises:
            OvssError: It cannot be fetched.
        """

    def use(self, matcher: ImageTextMatcher) -> None:  # noqa: B027 - nor asks a model
        """Offered the run's model before a run; does nothing unless overridden."""

    @property
    def described(self) -> dict[str, Any]:
        """The settings as results store them: no path, no key."""
        return {}


class Oracle(ClassFilter):
    """The classes in the image's ground truth, however few their pixels."""

    def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
        """Labels in the label map."""
        present = np.unique(dataset.label(name)).tolist()
        return tuple(k for k in present if 1 <= k <= len(dataset.classes))


class All(ClassFilter):
    """All classes of the data set, whatever the image."""

    def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
        """Labels 1..C."""
        del name
        return tuple(range(1, len(dataset.classes) + 1))


def as_row(labels: Sequence[int], dataset: Dataset) -> np.ndarray:
    """Labels as a (C,) bool row: whether each class of the data set is among them."""
    row = np.zeros(len(dataset.classes), bool)
    row[[k - 1 for k in labels]] = True
    return row
