"""PASCAL VOC's layout: JPEGImages, SegmentationClass (label values), ImageSets/Segmentation."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from ovsslib.datasets.base import find_root, read_split
from ovsslib.datasets.folder import FolderDataset, Layout, plain_table
from ovsslib.io.class_names import class_names

VOC21 = Layout(
    name="voc21",
    # The official `diningtable`, `pottedplant`, `tvmonitor` are spelt as words: models read text.
    classes=class_names("voc20"),
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
        layout: Which data set it is; None takes VOC with background.

    Raises:
        OvssError: Root or split is missing.
    """

    usual = VOC21
    masks = "SegmentationClass"
    lists = "Segmentation"
    void = True
    hint = ""

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str = "val",
        layout: Layout | None = None,
    ) -> None:
        layout = layout or self.usual
        folder = find_root(
            root, layout.below, shipped=layout.shipped, holds=(self.masks,), hint=self.hint
        )
        ids = read_split(folder / "ImageSets" / self.lists / f"{split}.txt")
        super().__init__(layout, folder, split, ids, plain_table(layout, void=self.void))

    def image_path(self, name: str) -> Path:
        """`JPEGImages/<name>.jpg`."""
        return self.root / "JPEGImages" / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`SegmentationClass/<name>.png`."""
        return self.root / self.masks / f"{name}.png"
