"""Pascal Context on VOC 2010's images: 59 classes, and background as a 60th or ignored.

Layout as in mmsegmentation: `SegmentationClassContext` holds mode L PNGs, 0 background and 1..59
in ALPHABETICAL order. The data set's own images of 59 labels have another order (VOC's 20 first);
`ovsslib.datasets.convert` converts them, and the official `.mat` and JSON files.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ovsslib.datasets.folder import ENOUGH, Layout
from ovsslib.datasets.voc import VOCDataset
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


class ContextDataset(VOCDataset):
    """Pascal Context's images and labels (a `Dataset`).

    Images are VOC 2010's own, not those of the same name in VOC 2012.

    Args:
        root: Folder with `JPEGImages`, `SegmentationClassContext` and
            `ImageSets/SegmentationContext`, or one that holds it under its official name; None
            looks below `$OVSS_DATA`.
        split: Name of a file in `ImageSets/SegmentationContext`.
        layout: With or without background; None takes that with it.

    Raises:
        OvssError: Root or split is missing.
    """

    usual = CONTEXT60
    masks = "SegmentationClassContext"
    lists = "SegmentationContext"
    void = False
    own_palette = False
    hint = "its labels are made by: ovss data download context, ovss data convert context"

    def doubts(self, images_with: np.ndarray, count: int) -> list[str]:
        """Notice the order with VOC's classes first, in which grass has the number of "mouse".

        About one image in a hundred holds a computer mouse, one in three grass. Labels in the right
        order that were converted as if they had the other show a mouse where there is a road.
        """
        share = images_with[CONTEXT_CLASSES.index("mouse") + 1] / max(1, count)
        if count < ENOUGH or share <= 0.1:
            return super().doubts(images_with, count)
        return [
            f"{share:.0%} of the images hold a mouse: the labels seem to be in the order of "
            "59_context_labels (VOC's classes first); convert those, once, with ovss data convert "
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
