"""Pascal Context on VOC 2010's images: 59 classes, and background as a 60th or ignored.

Layout as in mmsegmentation: `SegmentationClassContext` holds mode L PNGs, 0 background and 1..59
in ALPHABETICAL order. The data set's own images of 59 labels have another order (VOC's 20 first);
`ovsslib.datasets.convert` translates them and the official `.mat` and JSON files.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from ovsslib.datasets.base import find_root, read_split
from ovsslib.datasets.folder import FolderDataset, Layout, plain_table
from ovsslib.io.class_names import class_names, vocabulary

CONTEXT_CLASSES: tuple[str, ...] = class_names("context59")

CONTEXT_IDS: tuple[int, ...] = (
    *(0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85),
    *(98, 104, 105, 113, 115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284),
    *(295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427),
    *(440, 445, 454, 458),
)
"""The data set's id of each label 0..59, out of its 459 classes (the mapping of mmsegmentation's
converter: the position in the rising list is the label)."""

# What VOC's 20 objects are here, and the other classes that COCO counts as things. No official
# list exists: a class is stuff where COCO-Stuff has it among its stuff.
_THINGS = (
    "aeroplane, bag, bed, bench, bicycle, bird, boat, book, bottle, bus, car, cat, chair, computer,"
    " cow, cup, dog, horse, keyboard, motorbike, mouse, person, plate, potted plant, sheep, sign,"
    " sofa, table, train, truck, tv monitor"
).split(", ")

CONTEXT60 = Layout(
    name="context60",
    classes=CONTEXT_CLASSES,
    things=frozenset(CONTEXT_CLASSES.index(name) + 1 for name in _THINGS),
    covered=True,
    background=True,
    below=("VOCdevkit/VOC2010", "VOC2010", "context"),
    # PASCAL in Detail's JSON lists 4996 and 5104 images, the paper 4998 and 5105.
    expected={"train": (4996, 4998), "val": (5104, 5105)},
)
"""Background is a class."""
CONTEXT59 = dataclasses.replace(CONTEXT60, name="context59", background=False, zero_is_void=True)
"""Pixels of background are void."""


class ContextDataset(FolderDataset):
    """Pascal Context's images and labels (a `Dataset`).

    Images are VOC 2010's own, not those of the same name in VOC 2012.

    Args:
        root: Folder with `JPEGImages`, `SegmentationClassContext` and
            `ImageSets/SegmentationContext`, or one that holds it under its official name; None
            looks below `$OVSS_DATA`.
        split: Name of a file in `ImageSets/SegmentationContext`.
        layout: With or without background.

    Raises:
        OvssError: Root or split is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str = "val",
        layout: Layout = CONTEXT60,
    ) -> None:
        hint = "its labels are made by: ovss data download context, ovss data convert context"
        found = find_root(root, layout.below, holds=("SegmentationClassContext",), hint=hint)
        ids = read_split(found / "ImageSets" / "SegmentationContext" / f"{split}.txt")
        super().__init__(layout, found, split, ids, plain_table(layout, void=False))

    def image_path(self, name: str) -> Path:
        """`JPEGImages/<name>.jpg`."""
        return self.root / "JPEGImages" / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`SegmentationClassContext/<name>.png`."""
        return self.root / "SegmentationClassContext" / f"{name}.png"

    def doubts(self, share: np.ndarray) -> list[str]:
        """Notices the order with VOC's classes first, in which grass has the number of "mouse".

        Computer mice are in about one picture of a hundred, grass in one of three.
        """
        mouse = CONTEXT_CLASSES.index("mouse") + 1
        if share[mouse] <= 0.1:
            return []
        return [
            f"{share[mouse]:.0%} of the images hold a mouse: the labels seem to be in the order "
            "of 59_context_labels (VOC's classes first); convert those with ovss data convert "
            "context"
        ]


def voc_first_table() -> np.ndarray:
    """From the order of the data set's own `59_labels.txt` to the one used here.

    Returns:
        (60,) uint8: number in an image of `59_context_labels` -> label 0..59.

    Example:
        >>> voc_first_table()[[0, 1, 15, 36]].tolist()
        [0, 1, 37, 29]
    """
    label = {name: k for k, names in enumerate(vocabulary("context59"), 1) for name in names}
    return np.array([0, *(label[name] for name in class_names("context59_voc_first"))], np.uint8)


def ids_table() -> np.ndarray:
    """From the data set's 459 ids to labels; classes outside the 59 become background.

    Returns:
        (65536,) uint8: pixel of an official `.mat` file (key `LabelMap`) -> label 0..59.
    """
    table = np.zeros(1 << 16, np.uint8)
    table[list(CONTEXT_IDS)] = np.arange(len(CONTEXT_IDS))
    return table


def context60(root: str | os.PathLike[str] | None = None, split: str = "val") -> ContextDataset:
    """Context with background as a class; arguments and errors as in `ContextDataset`."""
    return ContextDataset(root, split, CONTEXT60)


def context59(root: str | os.PathLike[str] | None = None, split: str = "val") -> ContextDataset:
    """Context without background; arguments and errors as in `ContextDataset`."""
    return ContextDataset(root, split, CONTEXT59)
