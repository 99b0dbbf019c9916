"""PASCAL VOC's layout: JPEGImages, SegmentationClass (label values), ImageSets/Segmentation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ovsslib.datasets.base import find_root, read_split
from ovsslib.errors import OvssError
from ovsslib.images import open_image

VOC_CLASSES: tuple[str, ...] = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "dining table",
    "dog",
    "horse",
    "motorbike",
    "person",
    "potted plant",
    "sheep",
    "sofa",
    "train",
    "tv monitor",
)
"""The 20 classes; the official ``diningtable``, ``pottedplant``, ``tvmonitor`` are spelt as words,
because a model reads them as text."""


@dataclass(frozen=True)
class Layout:
    """What tells one data set in VOC's layout from another.

    Attributes:
        name: the data set's name.
        classes: names of labels 1..C.
        things: labels of countable objects.
        covered: see `Dataset`.
        below: where it usually lies within a folder of data sets.
        shipped: folder used when neither ``root`` nor ``$OVSS_DATA`` gives one.
    """

    name: str
    classes: tuple[str, ...]
    things: frozenset[int]
    covered: bool
    below: tuple[str, ...]
    shipped: Path | None = None


VOC = Layout(
    name="voc",
    classes=VOC_CLASSES,
    things=frozenset(range(1, 21)),
    covered=False,
    below=("VOCdevkit/VOC2012", "VOC2012", "voc"),
)


class VOCDataset:
    """Pictures and labels in VOC's layout (a `Dataset`).

    Args:
        root: folder with ``JPEGImages``, ``SegmentationClass`` and ``ImageSets/Segmentation``, or
            one that holds it under its official name; None looks below ``$OVSS_DATA``.
        split: name of a file in ``ImageSets/Segmentation``.
        layout: which data set it is.

    Raises:
        OvssError: root or split is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str = "val",
        layout: Layout = VOC,
    ) -> None:
        self.name = layout.name
        self.split = split
        self.classes = layout.classes
        self.things = layout.things
        self.covered = layout.covered
        self.root = find_root(root, layout.below, shipped=layout.shipped)
        self.ids = read_split(self.root / "ImageSets" / "Segmentation" / f"{split}.txt")

    def image(self, name: str) -> Image.Image:
        """The picture, RGB.

        Raises:
            OvssError: missing or damaged.
        """
        return open_image(self.root / "JPEGImages" / f"{name}.jpg")

    def label(self, name: str) -> np.ndarray:
        """(H, W) uint8: 0 background, 1..C, 255 void.

        Raises:
            OvssError: missing, damaged, not a label PNG, or with a value that is no class.
        """
        path = self.root / "SegmentationClass" / f"{name}.png"
        label = read_label(path)
        strange = set(np.unique(label).tolist()) - set(range(len(self.classes) + 1)) - {255}
        if strange:
            raise OvssError(
                f"{path}: holds {min(strange)}, but {self.name} has labels 0 to "
                f"{len(self.classes)} and 255; is it this data set's?"
            )
        return label


def read_label(path: Path) -> np.ndarray:
    """Label values of a palette (P) or greyscale (L) PNG: the stored numbers, no colours.

    Args:
        path: PNG.

    Returns:
        (H, W) uint8.

    Raises:
        OvssError: missing, damaged, or a picture in colours.
    """
    if not path.is_file():
        raise OvssError(f"{path}: the label file is missing; is the data set complete?")
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode not in ("P", "L"):
                raise OvssError(
                    f"{path}: a label PNG stores class numbers (mode P or L), this one colours "
                    f"(mode {image.mode}); convert it back to indices"
                )
            return np.array(image, np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise OvssError(f"{path}: the label cannot be read ({reason}); is it complete?") from error
