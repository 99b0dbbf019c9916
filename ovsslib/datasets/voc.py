"""PASCAL VOC's layout: JPEGImages, SegmentationClass (label values), ImageSets/Segmentation."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from ovsslib.datasets.base import find_root, read_split
from ovsslib.datasets.folder import ILLEGAL, FolderDataset, Layout, plain_table, read_label
from ovsslib.io.class_names import class_names
from ovsslib.io.palette import VOID, voc_palette

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
    own_palette = True
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
        labels = (*range(len(layout.classes) + 1), VOID)
        self._colours = {tuple(map(int, voc_palette()[k])): k for k in labels}

    def image_path(self, name: str) -> Path:
        """`JPEGImages/<name>.jpg`."""
        return self.root / "JPEGImages" / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`SegmentationClass/<name>.png`."""
        return self.root / self.masks / f"{name}.png"

    def stored(self, name: str) -> np.ndarray:
        """(H, W) uint8; errors as in `ovsslib.datasets.folder.read_label`."""
        return read_label(self.label_path(name), self._colours if self.own_palette else None)

    def doubts(self, images_with: np.ndarray, count: int) -> list[str]:
        """Notice, beside what all data sets share, the palette's colours turned into grey."""
        held = np.flatnonzero(images_with)
        # Pillow's own weights and rounding.
        greys = (np.array([*self._colours]) @ [19595, 38470, 7471] + 0x8000) >> 16
        if not (self.table[held] == ILLEGAL).any() or not np.isin(held, greys).all():
            return super().doubts(images_with, count)
        return [
            "the numbers are the brightness of the palette's colours: the labels seem to have been "
            "converted to grey (Pillow's convert('L')); use the original files"
        ]
