"""Is a data set complete? Reads every label, compares every image's size, checks counts."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovsslib.datasets.folder import ILLEGAL, FolderDataset, LabelError
from ovsslib.errors import OvssError
from ovsslib.io.images import DAMAGE, open_image, orientation
from ovsslib.io.json import plain
from ovsslib.lookup import Threads, check_types
from ovsslib.types import Progress

_SIDEWAYS = 5  # EXIF: from 5 on, width and height change places


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        root: Its folder.
        images: How many the split has.
        expected: How many it should have; empty where that is not fixed.
        faults: Kind -> what is wrong, one sentence per image (or per split); empty when complete.
        images_with: (C + 1,) number of images that hold each label, background first.
        void: Share of all pixels that are void, 0..1.
    """

    dataset: str
    split: str
    root: Path
    images: int
    expected: tuple[int, ...]
    faults: dict[str, tuple[str, ...]]
    images_with: np.ndarray
    void: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON, and `ok`."""
        more = {"root": str(self.root), "images_with": self.images_with.tolist(), "ok": self.ok}
        return plain(dataclasses.asdict(self) | more)


def verify(
    dataset: FolderDataset,
    *,
    deep: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check every file of a split.

    Checked are: the number of images; whether each has its image and its label, of the same size;
    whether the label stores class numbers (mode P or L) and only legal ones; and what shows in the
    numbers as a whole (`FolderDataset.doubts`). Each label is read once; of an image only its
    header and its end are read, unless `deep`.

    Args:
        dataset: An opened data set.
        deep: Whether to decode every image.
        threads: How many; None takes one per processor, eight at most.
        progress: Wraps the iteration over images.

    Returns:
        The result. Faults are of the kinds `count`, `image missing`, `image unreadable`,
        `label missing`, `label unreadable`, `label in colours`, `label in 16 bits`, `label
        palette`, `label values`, `size` and `doubtful`.
    """
    faults: dict[str, list[str]] = defaultdict(list)
    count, expected = len(dataset.ids), dataset.layout.expected.get(dataset.split, ())
    if expected and count not in expected:
        usual = " or ".join(map(str, expected))
        faults["count"].append(f"split {dataset.split} has {count} images, {usual} are expected")
    pixels = np.zeros(256, np.int64)
    images_with = np.zeros(256, np.int64)
    files_with, files = np.zeros(256, np.int64), 0
    check_types({"threads": threads}, {"threads": Threads | None})
    pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1))
    try:  # Pillow decodes without holding Python's lock
        checks: Iterable[Any] = pool.map(partial(_check, dataset, deep=deep), dataset.ids)
        if progress:
            checks = progress(checks, f"verifying {dataset.name}", count)
        for own_faults, own_pixels, stored in checks:
            for kind, fault in own_faults:
                faults[kind].append(fault)
            pixels += own_pixels
            images_with += own_pixels > 0
            files_with += stored > 0
            files += int(stored.any())
    finally:  # after Ctrl-C, too, nothing that is queued begins
        pool.shutdown(cancel_futures=True)
    images_with = images_with[: len(dataset.classes) + 1]
    faults["doubtful"] += dataset.doubts(files_with, files)
    return Verification(
        dataset.name,
        dataset.split,
        dataset.root,
        count,
        tuple(expected),
        {kind: tuple(sentences) for kind, sentences in faults.items() if sentences},
        images_with,
        float(pixels[255] / max(1, pixels.sum())),
    )


def _check(
    dataset: FolderDataset, name: str, *, deep: bool
) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """Check one image.

    Returns:
        Faults (kind, sentence); (256,) how many pixels have each label, none where the label is
        faulty; and (256,) how many have each number in the label file.
    """
    faults: list[tuple[str, str]] = []
    size = label_size = None
    pixels = numbers = np.zeros(256, np.int64)
    path = dataset.image_path(name)
    try:
        size = image_size(path, deep=deep)
    except OvssError as error:
        kind = "image unreadable" if os.path.isfile(path) else "image missing"
        faults.append((kind, str(error)))
    try:
        stored = dataset.stored(name)
        label_size = stored.shape[::-1]
        numbers = np.bincount(stored.ravel(), minlength=256)
        held = np.flatnonzero(numbers)
        illegal = held[dataset.table[held] == ILLEGAL]
        if len(illegal):
            raise dataset.illegal(name, int(illegal[0]))
        pixels = np.bincount(dataset.table, numbers, minlength=256).astype(np.int64)
    except LabelError as error:
        faults.append((error.kind, str(error)))
    if size and label_size and size != label_size:
        sizes = (f"{width} x {height}" for width, height in (size, label_size))
        faults.append(("size", f"{name}: image {next(sizes)}, label {next(sizes)}"))
    return faults, pixels, numbers


def image_size(path: Path, *, deep: bool = False) -> tuple[int, int]:
    """Width and height of an image as `open_image` gives it: upright.

    Args:
        path: The image.
        deep: Whether to decode it. Otherwise a JPEG with its end mark is taken to be complete, and
            only other images are decoded.

    Raises:
        OvssError: Missing or damaged.
    """
    if not deep and os.path.isfile(path):
        try:
            with Image.open(path) as image:
                if image.format == "JPEG" and _ends(path):
                    return image.size[::-1] if orientation(image) >= _SIDEWAYS else image.size
        except DAMAGE:
            pass  # open_image says what is wrong
    return open_image(path).size


def _ends(path: Path) -> bool:
    """Whether a JPEG's end mark is among its last bytes; some cameras write more after it."""
    with path.open("rb") as file:
        file.seek(-min(64, path.stat().st_size), os.SEEK_END)
        return b"\xff\xd9" in file.read()
