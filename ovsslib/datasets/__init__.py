"""Data sets in their official layouts, behind one small protocol."""

from __future__ import annotations

import os
from collections.abc import Callable

from ovsslib.datasets.base import Dataset
from ovsslib.datasets.diorama import diorama
from ovsslib.datasets.voc import VOCDataset
from ovsslib.registry import pick

__all__ = ["DATASETS", "Dataset", "list_datasets", "load_dataset"]

DATASETS: dict[str, Callable[..., Dataset]] = {"diorama": diorama, "voc": VOCDataset}


def list_datasets() -> list[str]:
    """Names `load_dataset` knows.

    Example:
        >>> list_datasets()
        ['diorama', 'voc']
    """
    return sorted(DATASETS)


def load_dataset(
    name: str, root: str | os.PathLike[str] | None = None, split: str = "val"
) -> Dataset:
    """Open a data set.

    Args:
        name: see `list_datasets`.
        root: its folder; None looks below ``$OVSS_DATA``, and for diorama at the shipped pictures.
        split: name of the split.

    Returns:
        The data set; nothing is read yet but the list of pictures.

    Raises:
        OvssError: unknown name, missing folder or split.
    """
    return pick("data set", name, DATASETS)(root, split)
