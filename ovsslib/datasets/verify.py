"""Is a data set whole? Every label is read, every image's size compared, counts are checked."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ovsslib.datasets.folder import FolderDataset, LabelError
from ovsslib.errors import OvssError
from ovsslib.io.images import open_image
from ovsslib.types import Progress

T = TypeVar("T")

_ORIENTATION, _SIDEWAYS = 0x0112, 5  # EXIF: from 5 on, width and height change places
_SOME = 20  # a share of fewer images says nothing about a data set


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        root: Its folder.
        pictures: How many the split has.
        expected: How many it should have; empty where that is not fixed.
        faults: Kind -> what is wrong, one sentence per image (or per split); empty when whole.
        pictures_with: (C + 1,) number of images that hold each label, background first.
        void: Share of all pixels that are void.
    """

    dataset: str
    split: str
    root: Path
    pictures: int
    expected: tuple[int, ...]
    faults: dict[str, tuple[str, ...]]
    pictures_with: np.ndarray
    void: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "root": str(self.root),
            "ok": self.ok,
            "pictures": self.pictures,
            "expected": list(self.expected),
            "faults": {kind: list(found) for kind, found in self.faults.items()},
            "pictures_with": self.pictures_with.tolist(),
            "void": self.void,
        }


@dataclass(frozen=True)
class _Found:
    """What one image has: faults, and how many of its pixels have each label 0..255."""

    faults: tuple[tuple[str, str], ...]
    pixels: np.ndarray


def verify(
    dataset: FolderDataset,
    *,
    deep: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check every file of a split.

    Looked at: how many images there are; whether each has its image and its label, and of one
    size; whether the label stores class numbers (mode P or L) and only legal ones; labels without a
    image; and what the numbers as a whole say (`FolderDataset.doubts`). Each label is read once;
    of an image only its head and its end are, unless `deep`.

    Args:
        dataset: An opened data set.
        deep: Whether to decode every image.
        workers: Threads; None takes one per processor, eight at most.
        progress: Wraps the iteration: items, what is done, how many there are.

    Returns:
        The report. Faults are of the kinds `count`, `picture missing`, `picture unreadable`,
        `label missing`, `label unreadable`, `label in colours`, `label values`, `size`,
        `label without picture` and `doubtful`.
    """
    faults: dict[str, list[str]] = defaultdict(list)
    count, expected = len(dataset.ids), dataset.layout.expected.get(dataset.split, ())
    if expected and count not in expected:
        words = " or ".join(map(str, expected))
        faults["count"].append(f"split {dataset.split} has {count} images, {words} are expected")
    pixels = np.zeros(256, np.int64)
    holding = np.zeros(256, np.int64)
    found: Iterable[_Found] = _in_threads(
        partial(_check, dataset, deep=deep), dataset.ids, workers or min(8, os.cpu_count() or 1)
    )
    for one in progress(found, f"verifying {dataset.name}", count) if progress else found:
        for kind, what in one.faults:
            faults[kind].append(what)
        pixels += one.pixels
        holding += one.pixels > 0
    for name in dataset.strays():
        faults["label without image"].append(f"{name}: the label has no image")
    with_label = holding[: len(dataset.classes) + 1]
    if count >= _SOME:
        faults["doubtful"] += dataset.doubts(with_label / count)
    return Report(
        dataset.name,
        dataset.split,
        dataset.root,
        count,
        tuple(expected),
        {kind: tuple(what) for kind, what in faults.items() if what},
        with_label,
        float(pixels[255] / max(1, pixels.sum())),
    )


def _in_threads(check: Callable[[str], _Found], ids: Iterable[str], n: int) -> Iterator[_Found]:
    """Results in the order of ids. Pillow decodes without holding Python's lock."""
    pool = ThreadPoolExecutor(n)
    try:
        yield from pool.map(check, ids)
    finally:  # also when the user has had enough: what is queued is not begun
        pool.shutdown(cancel_futures=True)


def _check(dataset: FolderDataset, name: str, *, deep: bool) -> _Found:
    faults: list[tuple[str, str]] = []
    size = shape = None
    pixels = np.zeros(256, np.int64)
    path = dataset.image_path(name)
    try:
        size = picture_size(path, deep=deep)
    except OvssError as error:
        kind = "image unreadable" if path.is_file() else "image missing"
        faults.append((kind, str(error)))
    try:
        label = dataset.label(name)
        shape = label.shape[::-1]
        pixels = np.bincount(label.ravel(), minlength=256)
    except LabelError as error:
        faults.append((error.kind, str(error)))
    if size and shape and size != shape:
        faults.append(
            ("size", f"{name}: image {size[0]} x {size[1]}, label {shape[0]} x {shape[1]}")
        )
    return _Found(tuple(faults), pixels)


def picture_size(path: Path, *, deep: bool = False) -> tuple[int, int]:
    """Width and height of an image as `open_image` gives it: upright.

    Args:
        path: The image.
        deep: Whether to decode it; otherwise a JPEG that has its end mark is taken for whole, and
            only others are decoded.

    Raises:
        OvssError: Missing or damaged.
    """
    if deep or not path.is_file():
        return open_image(path).size
    try:
        with Image.open(path) as image:
            if image.format != "JPEG" or not _ends(path):
                return open_image(path).size
            sideways = image.getexif().get(_ORIENTATION, 1) >= _SIDEWAYS
            return image.size[::-1] if sideways else image.size
    except OvssError:
        raise
    except (OSError, SyntaxError, ValueError, TypeError):
        return open_image(path).size  # fails as reading it would, with the same words


def _ends(path: Path) -> bool:
    """Whether a JPEG's end mark is among its last bytes; some cameras write more after it."""
    with path.open("rb") as file:
        file.seek(-min(64, path.stat().st_size), os.SEEK_END)
        return b"\xff\xd9" in file.read()
