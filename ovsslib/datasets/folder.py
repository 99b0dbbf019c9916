"""Data sets of image files and label PNGs, and tables from stored numbers to labels."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.io.images import DAMAGE, open_image
from ovsslib.io.palette import VOID

ILLEGAL = 254
"""Marks numbers in a table that a label file must not hold; no data set has 254 classes."""
ENOUGH = 20
"""Numbers that fewer images lack, or share, say nothing about a data set."""


class LabelError(OvssError):
    """A label file that cannot be used.

    Attributes:
        kind: `"label missing"`, `"label unreadable"`, `"label in colours"`, `"label in 16
            bits"`, `"label palette"` or `"label values"`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Layout:
    """What a data set is, wherever its files lie.

    Attributes:
        name: The data set's name.
        classes: Names of labels 1..C.
        things: Labels of countable objects.
        covered: See `Dataset`.
        background: See `Dataset`.
        below: Where it usually lies below a folder of data sets.
        zero_is_void: Whether pixels without a class are void and not background; then
            `background` is false.
        shipped: Folder used when neither `root` nor `$OVSS_DATA` gives one.
        expected: Split -> numbers of images that publications name; no entry for a split without
            a fixed size.
    """

    name: str
    classes: tuple[str, ...]
    things: frozenset[int]
    covered: bool
    background: bool
    below: tuple[str, ...]
    zero_is_void: bool = False
    shipped: Path | None = None
    expected: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class FolderDataset(ABC):
    """Images and label PNGs in folders (a `Dataset`); a subclass says where they lie.

    Args:
        layout: Which data set it is.
        root: Its folder.
        split: Name of the split.
        ids: Names of the split's images.
        table: (256,) uint8 from `label_table`: number stored in a label file -> label.
    """

    def __init__(
        self, layout: Layout, root: Path, split: str, ids: tuple[str, ...], table: np.ndarray
    ) -> None:
        self.layout = layout
        self.name = layout.name
        self.split = split
        self.classes = layout.classes
        self.things = layout.things
        self.covered = layout.covered
        self.background = layout.background
        self.root = root
        self.ids = ids
        self.table = table

    @abstractmethod
    def image_path(self, name: str) -> Path:
        """Where the image is, or should be."""

    def expected(self, limit: int | None = None) -> int:
        """How many images there should be: as published, else as listed; at most `limit`."""
        published, here = self.layout.expected.get(self.split, ()), len(self.ids)
        count = here if here in published or not published else published[0]
        return min(count, limit or count)

    @abstractmethod
    def label_path(self, name: str) -> Path | None:
        """Where the label PNG is, or should be.

        None where images have no label files of their own; then the class has its own `stored`.
        """

    def image(self, name: str) -> Image.Image:
        """The image, RGB.

        Raises:
            OvssError: Missing or damaged.
        """
        return open_image(self.image_path(name))

    def stored(self, name: str) -> np.ndarray:
        """(H, W) uint8: the numbers in the image's label file; errors as in `read_label`."""
        path = self.label_path(name)
        if path is None:
            raise OvssError(f"{self.name} has no label files of its own; its class must read them")
        return read_label(path)

    def label(self, name: str) -> np.ndarray:
        """(H, W) uint8: 0 background, 1..C, 255 void.

        Raises:
            LabelError: Missing, damaged, not a label PNG, or with a value that is not a class.
        """
        stored = self.stored(name)
        # A look-up table, since ids renamed in place one after another would be renamed again.
        # (`take` instead of an index: it makes no 64-bit copy of the indices.)
        label: np.ndarray = self.table.take(stored)
        if (label == ILLEGAL).any():
            raise self.illegal(name, int(stored[label == ILLEGAL].min()))
        return label

    def illegal(self, name: str, number: int) -> LabelError:
        """The error for a number in an image's label file that stands for no label."""
        return LabelError(
            "label values",
            f"{self.label_path(name)}: holds {number}, but the label files of {self.name} hold "
            f"{legal_values(self.table)}; is it a converted file, or another data set's?",
        )

    def doubts(self, images_with: np.ndarray, count: int) -> list[str]:
        """Faults that only show in the whole data set: the likely mistake, and how to mend it.

        Here: labels from which 1 was taken away, so that 0 became 255 and the last number is free.

        Args:
            images_with: (256,) number of images whose label files hold each number.
            count: Number of these files.

        Returns:
            Sentences; empty where all is as expected.
        """
        few_zeros = count >= ENOUGH and images_with[0] < count / 2
        sure = self.table[VOID] == ILLEGAL or few_zeros
        if not images_with[VOID] or images_with[len(self.classes)] or not sure:
            return []
        return [
            f"no label file holds {len(self.classes)}, but {images_with[VOID]} hold 255: they seem "
            "to have been reduced by one (mmsegmentation's reduce_zero_label); use the original "
            "files"
        ]


def label_table(pairs: Mapping[int, int] | Iterable[tuple[int, int]]) -> np.ndarray:
    """The table from stored numbers to labels.

    Args:
        pairs: Number stored in a label file, 0..255 -> label: 0 background, 1..C, 255 void.

    Returns:
        (256,) uint8; `ILLEGAL` for numbers without a pair.

    Example:
        >>> table = label_table({0: 255, 1: 1})
        >>> table[:3].tolist()
        [255, 1, 254]
    """
    table = np.full(256, ILLEGAL, np.uint8)
    for stored, label in dict(pairs).items():
        table[stored] = label
    return table


def legal_values(table: np.ndarray) -> str:
    """The numbers that a table has labels for, as text.

    Example:
        >>> legal_values(label_table({0: 0, 1: 1, 2: 2, 4: 3, 255: 255}))
        '0 to 2, 4 and 255'
    """
    legal = np.flatnonzero(np.asarray(table) != ILLEGAL)
    runs = np.split(legal, np.flatnonzero(np.diff(legal) > 1) + 1)
    words = [f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def zero(layout: Layout) -> int:
    """The label of pixels without a class: 0 or void."""
    return VOID if layout.zero_is_void else 0


def plain_table(layout: Layout, *, void: bool) -> np.ndarray:
    """The table of files that store the labels themselves.

    Args:
        layout: Says the number of classes, and what 0 is.
        void: Whether files may hold 255.

    Returns:
        (256,) uint8, see `label_table`. Nothing is shifted, so 255 cannot overflow to 0.
    """
    pairs = {k: k for k in range(1, len(layout.classes) + 1)} | {0: zero(layout)}
    return label_table(pairs | ({VOID: VOID} if void else {}))


_STRETCHED = {"L;2": 85, "L;4": 17}


def read_label(path: Path, colours: Mapping[tuple[int, ...], int] | None = None) -> np.ndarray:
    """Label values of a palette (P) or greyscale (L) PNG: the stored numbers, not colours.

    Args:
        path: PNG.
        colours: Colour (red, green, blue) -> label, where the data set has its own palette.

    Returns:
        (H, W) uint8.

    Raises:
        LabelError: Missing, damaged, an image in colours or of 16 bits, or one in whose palette a
            label has the colour of another.
    """
    if not os.path.isfile(path):
        raise LabelError(
            "label missing", f"{path}: the label file is missing; is the data set complete?"
        )
    try:
        with Image.open(path) as image:
            packed = str(image.tile[0][3]) if image.tile else ""
            image.load()
            if image.mode.startswith(("I", "F")):
                raise LabelError(
                    "label in 16 bits",
                    f"{path}: a label PNG stores class numbers in 8 bits (mode P or L), this one "
                    f"has more (mode {image.mode}); save the same numbers as 8-bit grey",
                )
            if image.mode not in ("P", "L", "1"):
                raise LabelError(
                    "label in colours",
                    f"{path}: a label PNG stores class numbers (mode P or L), this one stores "
                    f"colours (mode {image.mode}); was it saved as RGB? Use the original file, or "
                    "convert it back to indices",
                )
            if colours is not None and image.mode == "P":
                _check_palette(path, image, colours)
            # Programs that shrink PNGs pack grey of few values into 1, 2 or 4 bits. Pillow
            # stretches 2 and 4 bits to 0..255, which would change the class numbers.
            return np.array(image, np.uint8) // np.uint8(_STRETCHED.get(packed, 1))
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise LabelError(
            "label unreadable", f"{path}: the label cannot be read ({reason}); is it complete?"
        ) from error


def _check_palette(path: Path, image: Image.Image, colours: Mapping[tuple[int, ...], int]) -> None:
    """Refuse numbers whose colours are those of other labels: a program sorted the palette anew.

    Palettes of other colours, which some programs write, say nothing about the numbers.
    """
    palette = image.getpalette() or []
    used = [int(number) for _, number in image.getcolors(256) or []]  # type: ignore[arg-type]
    meant = {number: colours.get(tuple(palette[3 * number : 3 * number + 3])) for number in used}
    moved = [number for number in used if meant[number] != number != VOID]
    if moved and None not in meant.values():
        raise LabelError(
            "label palette",
            f"{path}: number {moved[0]} has the colour of label {meant[moved[0]]}: the file was "
            "written with another palette, so its numbers are not the labels; use the original "
            "file",
        )
