"""What a data set is: images with label maps, in one small protocol."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from ovsslib.errors import OvssError


class Dataset(Protocol):
    """Images with label maps.

    Attributes:
        name: `"diorama"`, `"voc21"`…
        split: `"val"`…
        classes: Names; the pixels of `classes[k - 1]` have label `k`.
        things: Labels of countable objects; the other classes are stuff.
        ids: Names of the images, in the order of the split's file.
        covered: Whether labels are meant to cover the image, so that what they leave out is
            left-over clutter; not so where classes are objects before a background.
        background: Whether label 0 is a class of its own that counts in the mean (VOC: 21 classes;
            Context: 60; COCO-Object: 81). Where it is none, either the data set ignores such pixels
            and they are void (VOC 20, Context 59, ADE20K), or 0 is clutter that counts against
            the method but not as a class (Diorama).
    """

    name: str
    split: str
    classes: tuple[str, ...]
    things: frozenset[int]
    ids: tuple[str, ...]
    covered: bool
    background: bool

    def image(self, name: str) -> Image.Image:
        """The image, upright RGB."""
        ...

    def label(self, name: str) -> np.ndarray:
        """(H, W) uint8: 0 background, 1..C classes, 255 void."""
        ...


MASKS = ("SegmentationClass",)
"""What the folder of a data set in VOC's layout holds."""


def find_root(
    root: str | os.PathLike[str] | None,
    below: tuple[str, ...],
    *,
    shipped: Path | None = None,
    holds: tuple[str, ...] = MASKS,
    hint: str = "",
) -> Path:
    """The data set's folder: the argument, else below `$OVSS_DATA`, else the shipped one.

    Args:
        root: The user's choice, or None: the folder itself or one that holds it.
        below: Where the data set usually lies within a folder of data sets.
        shipped: The copy in this repository, if there is one.
        holds: Names of folders or files one of which tells the data set's folder.
        hint: What else to do when it is not found.

    Returns:
        A folder that holds one of `holds`.

    Raises:
        OvssError: There is none; says what to give.
    """

    def fits(path: Path) -> bool:
        return any((path / name).exists() for name in holds)

    or_else = f"; {hint}" if hint else ""
    if root is not None:
        path = Path(root)
        if not path.is_dir():
            raise OvssError(f"{path}: no such folder; give the data set's folder with --root")
        for found in (path, *(path / name for name in below)):
            if fits(found):
                return found
        raise OvssError(
            f"{path}: holds no {' nor '.join(holds)}; give the folder that does with --root"
            f"{or_else}"
        )
    shelf = os.environ.get("OVSS_DATA")
    # Only by name: any of the data sets on the shelf may have this layout.
    candidates = [Path(shelf) / name for name in below] if shelf else []
    for found in [*candidates, *([shipped] if shipped else [])]:
        if fits(found):
            return found
    what = below[0] if len(holds) > 1 else f"{below[0]} with {holds[0]}"
    where = f"OVSS_DATA={shelf} holds no {what}" if shelf else "OVSS_DATA is not set"
    raise OvssError(f"the data set is not found ({where}); give its folder with --root{or_else}")


def read_split(path: Path) -> tuple[str, ...]:
    """Names in a split file, one per line; blank lines are skipped.

    Raises:
        OvssError: The file is missing (names the splits that are there), empty, or repeats a name.
    """
    if not path.is_file():
        others = sorted(p.stem for p in path.parent.glob("*.txt")) if path.parent.is_dir() else []
        there = f"there are {', '.join(others)}" if others else "there is none"
        raise OvssError(f"{path}: no such split; {there}")
    ids = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    if not ids:
        raise OvssError(f"{path}: the split is empty; put one image name per line")
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise OvssError(f"{path}: {twice} is listed twice; list each image once")
    return ids


def stems(folder: Path, ending: str) -> list[str]:
    """Names of the files in a folder that end so, without that ending, sorted; none without one."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name.removesuffix(ending) for e in entries if e.name.endswith(ending))


def list_pictures(folder: Path) -> tuple[str, ...]:
    """Names of the JPEGs in a folder, sorted: the split of a data set without a split file.

    Raises:
        OvssError: There is no such folder, or it holds no image.
    """
    names = stems(folder, ".jpg")
    if not names:
        what = "holds no image" if folder.is_dir() else "no such folder"
        raise OvssError(f"{folder}: {what} (*.jpg); the split's images belong there")
    return tuple(names)
