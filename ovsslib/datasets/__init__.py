"""Data sets in their official layouts; `load_dataset` opens them by name.

Names have the numbers usual in the field: `voc21`, `context60` and `coco-object81` count background
as a class, `voc20`, `context59` and `coco-object80` leave its pixels out. A name without a number
stands for the variant with background.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from ovsslib.datasets.ade20k import ADE20K, ADE20KDataset
from ovsslib.datasets.base import Dataset
from ovsslib.datasets.coco_object import (
    COCO_INSTANCES,
    COCO_OBJECT80,
    COCO_OBJECT81,
    CocoInstances,
    coco_object,
)
from ovsslib.datasets.coco_stuff import COCO_STUFF, coco_stuff
from ovsslib.datasets.context import CONTEXT59, CONTEXT60, ContextDataset
from ovsslib.datasets.diorama import DIORAMA
from ovsslib.datasets.folder import FolderDataset, Layout
from ovsslib.datasets.voc import VOC20, VOC21, VOCDataset
from ovsslib.lookup import check_types, pick

__all__ = ["ALIASES", "FILES", "LAYOUTS", "Dataset", "list_datasets", "load_dataset"]

_DATASETS: tuple[tuple[Layout, Callable[..., FolderDataset]], ...] = (
    (ADE20K, ADE20KDataset),
    (COCO_INSTANCES, CocoInstances),
    (COCO_OBJECT80, partial(coco_object, layout=COCO_OBJECT80)),
    (COCO_OBJECT81, coco_object),
    (COCO_STUFF, coco_stuff),
    (CONTEXT59, partial(ContextDataset, layout=CONTEXT59)),
    (CONTEXT60, ContextDataset),
    (DIORAMA, partial(VOCDataset, layout=DIORAMA)),
    (VOC20, partial(VOCDataset, layout=VOC20)),
    (VOC21, VOCDataset),
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout, _ in _DATASETS}
"""Name -> what the data set is, without opening it."""
ALIASES: dict[str, str] = {
    "coco-object": "coco-object81",
    "context": "context60",
    "voc": "voc21",
}
"""Name without a number -> the variant with background."""
FILES: tuple[str, ...] = (
    "diorama",
    "voc",
    "context",
    "coco-object",
    "coco-object-instances",
    "coco-stuff",
    "ade20k",
)
"""One name per set of files on the disk, which variants with and without background share."""


def list_datasets() -> list[str]:
    """Names `load_dataset` knows, without those in `ALIASES`.

    Example:
        >>> list_datasets()[-3:]
        ['diorama', 'voc20', 'voc21']
    """
    return sorted(LAYOUTS)


def load_dataset(
    name: str, root: str | os.PathLike[str] | None = None, split: str = "val"
) -> FolderDataset:
    """Open a data set.

    Args:
        name: See `list_datasets`, or a name in `ALIASES`.
        root: Its folder; None looks below `$OVSS_DATA`, and for Diorama also among shipped files.
        split: Name of the split.

    Returns:
        The data set; only the list of its images has been read.

    Raises:
        OvssError: Unknown name, missing folder or split.
    """
    kinds = {"root": str | os.PathLike | None, "split": str}
    check_types({"root": root, "split": split}, kinds, "the data set's ")
    openers = {layout.name: opener for layout, opener in _DATASETS}
    openers |= {alias: openers[full] for alias, full in ALIASES.items()}
    return pick("data set", name, openers)(root, split)
