"""Which classes the method is told are in the picture (step 1 of the paper).

The paper asks GPT-4o. Two filters need no model: the oracle (an upper bound: the classes that are
in the ground truth) and none at all (every class of the data set; the hardest case).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ovsslib.datasets.base import Dataset
from ovsslib.registry import pick

ClassFilter = Callable[[Dataset, str], tuple[int, ...]]
"""Data set and picture name -> labels (1..C, rising) of the classes to look for; may be empty."""


def oracle(dataset: Dataset, name: str) -> tuple[int, ...]:
    """The classes in the picture's ground truth, however few their pixels.

    Args:
        dataset: where the label map is.
        name: of the picture.

    Returns:
        Labels in rising order, without background and void.
    """
    present = np.unique(dataset.label(name)).tolist()
    return tuple(k for k in present if 1 <= k <= len(dataset.classes))


def every(dataset: Dataset, name: str) -> tuple[int, ...]:
    """All classes of the data set, whatever the picture (the filter named ``"all"``)."""
    del name
    return tuple(range(1, len(dataset.classes) + 1))


FILTERS: dict[str, ClassFilter] = {"oracle": oracle, "all": every}


def list_filters() -> list[str]:
    """Names `get_filter` knows.

    Example:
        >>> list_filters()
        ['all', 'oracle']
    """
    return sorted(FILTERS)


def get_filter(name: str) -> ClassFilter:
    """A filter by name.

    Raises:
        OvssError: unknown name; says the nearest one.
    """
    return pick("filter", name, FILTERS)
