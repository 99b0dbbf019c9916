"""What a data set is: pictures with label maps, in one small protocol."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from ovsslib.errors import OvssError


class Dataset(Protocol):
    """Pictures with label maps.

    Attributes:
        name: ``"diorama"``, ``"voc"``…
        split: ``"val"``…
        classes: names; the pixels of ``classes[k - 1]`` have label ``k``.
        things: labels of countable objects; the other classes are stuff.
        ids: names of the pictures, in the order of the split's file.
        covered: whether labels are meant to cover the picture, so that background is left-over
            clutter and no class of its own.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    things: frozenset[int]
    ids: tuple[str, ...]
    covered: bool

    def image(self, name: str) -> Image.Image:
        """The picture, upright RGB."""
        ...

    def label(self, name: str) -> np.ndarray:
        """(H, W) uint8: 0 background, 1..C classes, 255 void."""
        ...


def find_root(
    root: str | os.PathLike[str] | None, below: tuple[str, ...], *, shipped: Path | None = None
) -> Path:
    """The data set's folder: the argument, else below ``$OVSS_DATA``, else the shipped one.

    Args:
        root: the user's choice, or None: the folder itself or one that holds it.
        below: where the data set usually lies within a folder of data sets.
        shipped: the copy in this repository, if there is one.

    Returns:
        A folder that holds ``SegmentationClass``.

    Raises:
        OvssError: there is none; says what to give.
    """
    if root is not None:
        path = Path(root)
        if not path.is_dir():
            raise OvssError(f"{path}: no such folder; give the data set's folder with --root")
        for found in (path, *(path / name for name in below)):
            if (found / _MASKS).is_dir():
                return found
        raise OvssError(f"{path}: holds no {_MASKS} folder; give the folder that does with --root")
    shelf = os.environ.get("OVSS_DATA")
    # Only by name: any of the data sets on the shelf has this layout.
    candidates = [Path(shelf) / name for name in below] if shelf else []
    for found in [*candidates, *([shipped] if shipped else [])]:
        if (found / _MASKS).is_dir():
            return found
    where = f"OVSS_DATA={shelf} holds no {below[0]}" if shelf else "OVSS_DATA is not set"
    raise OvssError(f"the data set is not found ({where}); give its folder with --root")


_MASKS = "SegmentationClass"


def read_split(path: Path) -> tuple[str, ...]:
    """Names in a split file, one per line; blank lines are skipped.

    Raises:
        OvssError: the file is missing (names the splits that are there), empty, or repeats a name.
    """
    if not path.is_file():
        others = sorted(p.stem for p in path.parent.glob("*.txt")) if path.parent.is_dir() else []
        there = f"there are {', '.join(others)}" if others else "there is none"
        raise OvssError(f"{path}: no such split; {there}")
    ids = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    if not ids:
        raise OvssError(f"{path}: the split is empty; put one picture name per line")
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise OvssError(f"{path}: {twice} is listed twice; list each picture once")
    return ids
