"""Data sets in their official layouts, behind one small protocol.

A number in a name is the field's: `voc21`, `context60` and `coco-object81` have background
as a class, `voc20`, `context59` and `coco-object80` leave its pixels out. A name without a
number stands for the variant with background.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ovsslib.datasets.ade20k import ADE20K, ADE20KDataset
from ovsslib.datasets.base import Dataset
from ovsslib.datasets.coco_object import (
    COCO_INSTANCES,
    COCO_OBJECT80,
    COCO_OBJECT81,
    coco_instances,
    coco_object80,
    coco_object81,
)
from ovsslib.datasets.coco_stuff import COCO_STUFF, coco_stuff
from ovsslib.datasets.context import CONTEXT59, CONTEXT60, context59, context60
from ovsslib.datasets.diorama import DIORAMA, diorama
from ovsslib.datasets.folder import FolderDataset, Layout
from ovsslib.datasets.voc import VOC20, VOC21, voc20, voc21
from ovsslib.lookup import pick

__all__ = [
    "ALIASES",
    "DATASETS",
    "FILES",
    "LAYOUTS",
    "Dataset",
    "list_datasets",
    "load_dataset",
]

DATASETS: dict[str, Callable[..., FolderDataset]] = {
    "ade20k": ADE20KDataset,
    "coco-object-instances": coco_instances,
    "coco-object80": coco_object80,
    "coco-object81": coco_object81,
    "coco-stuff": coco_stuff,
    "context59": context59,
    "context60": context60,
    "diorama": diorama,
    "voc20": voc20,
    "voc21": voc21,
}
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        *(ADE20K, COCO_INSTANCES, COCO_OBJECT80, COCO_OBJECT81, COCO_STUFF),
        *(CONTEXT59, CONTEXT60, DIORAMA, VOC20, VOC21),
    )
}
"""What each is, without opening it."""
ALIASES: dict[str, str] = {
    "coco-object": "coco-object81",
    "context": "context60",
    "voc": "voc21",
}
"""Name without a number -> the variant with background, whose labels are the stored ones."""
FILES: tuple[str, ...] = (
    "diorama",
    "voc",
    "context",
    "coco-object",
    "coco-object-instances",
    "coco-stuff",
    "ade20k",
)
"""One name per set of files on the disk: variants that differ in what 0 means share theirs."""


def list_datasets() -> list[str]:
    """Names `load_dataset` knows, without those in `ALIASES`.

    Example:
        >>> list_datasets()[-3:]
        ['diorama', 'voc20', 'voc21']
    """
    return sorted(DATASETS)


def load_dataset(
    name: str, root: str | os.PathLike[str] | None = None, split: str = "val"
) -> FolderDataset:
    """Open a data set.

    Args:
        name: See `list_datasets`, or a name in `ALIASES`.
        root: Its folder; None looks below `$OVSS_DATA`, and for diorama at the shipped images.
        split: Name of the split.

    Returns:
        The data set; nothing is read yet but the list of images.

    Raises:
        OvssError: Unknown name, missing folder or split.
    """
    known = DATASETS | {alias: DATASETS[meant] for alias, meant in ALIASES.items()}
    return pick("data set", name, known)(root, split)
