"""PASCAL VOC's layout: JPEGImages, SegmentationClass (label values), ImageSets/Segmentation."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from ovsslib.datasets.base import find_root, read_split
from ovsslib.datasets.folder import FolderDataset, Layout, plain_table
from ovsslib.io.class_names import class_names

VOC_CLASSES: tuple[str, ...] = class_names("voc20")
"""The 20 classes; the official `diningtable`, `pottedplant`, `tvmonitor` are spelt as words,
because a model reads them as text."""

VOC21 = Layout(
    name="voc21",
    classes=VOC_CLASSES,
    things=frozenset(range(1, 21)),
    covered=False,
    background=True,
    below=("VOCdevkit/VOC2012", "VOC2012", "voc"),
    expected={"train": (1464,), "val": (1449,), "trainval": (2913,)},
)
"""Background is a class. Sizes: the development kit's ImageSets/Segmentation."""
VOC20 = dataclasses.replace(VOC21, name="voc20", covered=True, background=False, zero_is_void=True)
"""Pixels of background are void."""


class VOCDataset(FolderDataset):
    """Images and labels in VOC's layout (a `Dataset`).

    Label PNGs hold the class as their palette's index: 0 background, 1..C, 255 void.

    Args:
        root: Folder with `JPEGImages`, `SegmentationClass` and `ImageSets/Segmentation`, or
            one that holds it under its official name; None looks below `$OVSS_DATA`.
        split: Name of a file in `ImageSets/Segmentation`.
        layout: Which data set it is.

    Raises:
        OvssError: Root or split is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str = "val",
        layout: Layout = VOC21,
    ) -> None:
        found = find_root(root, layout.below, shipped=layout.shipped)
        ids = read_split(found / "ImageSets" / "Segmentation" / f"{split}.txt")
        table = plain_table(layout, void=True)
        super().__init__(layout, found, split, ids, table)

    def image_path(self, name: str) -> Path:
        """`JPEGImages/<name>.jpg`."""
        return self.root / "JPEGImages" / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`SegmentationClass/<name>.png`."""
        return self.root / "SegmentationClass" / f"{name}.png"


def voc21(root: str | os.PathLike[str] | None = None, split: str = "val") -> VOCDataset:
    """VOC 2012 with background as a class; arguments and errors as in `VOCDataset`."""
    return VOCDataset(root, split, VOC21)


def voc20(root: str | os.PathLike[str] | None = None, split: str = "val") -> VOCDataset:
    """VOC 2012 without background; arguments and errors as in `VOCDataset`."""
    return VOCDataset(root, split, VOC20)
