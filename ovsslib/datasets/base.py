"""The protocol of a data set, and how its folder and its split are found."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.io.files import read_text


class Dataset(Protocol):
    """Images with label maps.

    Attributes:
        name: `"diorama"`, `"voc21"`…
        split: `"val"`…
        classes: Names; the pixels of `classes[k - 1]` have label `k`.
        things: Labels of countable objects; the other classes are stuff.
        ids: Names of the images, in the order of the split's file.
        covered: Whether the classes are meant to cover the image, so that only clutter is left;
            false where classes are objects in front of a background.
        background: Whether label 0 is a class that counts in the mean (VOC: 21 classes; Context:
            60; COCO-Object: 81). Where it is not, either such pixels are void (VOC 20, Context 59,
            ADE20K), or 0 is clutter, which is not a class, but where every predicted class is an
            error (Diorama).
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


def find_root(
    root: str | os.PathLike[str] | None,
    below: tuple[str, ...],
    *,
    holds: tuple[str, ...],
    shipped: Path | None = None,
    hint: str = "",
) -> Path:
    """The data set's folder: the argument, else below `$OVSS_DATA`, else the shipped one.

    Args:
        root: The folder itself, one that holds it, or None.
        below: Where the data set usually lies below a folder of data sets.
        holds: Folders or files; the data set's folder is recognised by one of them.
        shipped: The shipped copy, if there is one.
        hint: What else to do when it is not found.

    Returns:
        A folder that holds one of `holds`.

    Raises:
        OvssError: There is none.
    """

    def fits(path: Path) -> bool:
        return any(os.path.exists(path / name) for name in holds)

    or_else = f"; {hint}" if hint else ""
    if root is not None:
        path = Path(root)
        if not os.path.isdir(path):
            raise OvssError(f"{path}: no such folder; give the data set's folder with --root")
        for folder in (path, *(path / name for name in below)):
            if fits(folder):
                return folder
        raise OvssError(
            f"{path}: holds no {' nor '.join(holds)}; give the folder that does with --root"
            f"{or_else}"
        )
    shelf = os.environ.get("OVSS_DATA")
    # Only by name: other data sets there may have the same layout.
    candidates = [Path(shelf) / name for name in below] if shelf else []
    for folder in [*candidates, *([shipped] if shipped else [])]:
        if fits(folder):
            return folder
    what = below[0] if len(holds) > 1 else f"{below[0]} with {holds[0]}"
    where = f"OVSS_DATA={shelf} holds no {what}" if shelf else "OVSS_DATA is not set"
    raise OvssError(f"the data set is not found ({where}); give its folder with --root{or_else}")


def read_split(path: Path) -> tuple[str, ...]:
    """Names in a split file, one per line; blank lines are skipped.

    Raises:
        OvssError: The file is missing (the error lists the others), cannot be read, is empty, or
            repeats a name.
    """
    if not os.path.isfile(path):
        others = sorted(p.stem for p in path.parent.glob("*.txt")) if path.parent.is_dir() else []
        raise OvssError(f"{path}: no such split; there are {', '.join(others) or 'none'}")
    ids = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not ids:
        raise OvssError(f"{path}: the split is empty; put one image name per line")
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise OvssError(f"{path}: {twice} is listed twice; list each image once")
    return ids


def stems(folder: Path, ending: str) -> list[str]:
    """Names of the files in a folder with an ending, without it, sorted; empty without a folder.

    Hidden files are left out: archives from macOS have one beside each file.

    Raises:
        OvssError: A name is no UTF-8 text, which no table of results could hold.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.endswith(ending) and e.name[0] != "."]
    for name in names:
        if re.search("[\ud800-\udfff]", name):
            raise OvssError(f"{folder}: {name!r} is not UTF-8; rename the file")
    return sorted(name.removesuffix(ending) for name in names)


def list_images(folder: Path, labelled: Iterable[str]) -> tuple[str, ...]:
    """The split of a data set without a split file, sorted.

    Args:
        folder: Its JPEGs are images of the split.
        labelled: Names with a label file; without its image, such a name is a missing image.

    Raises:
        OvssError: There is no such folder, or it holds no image.
    """
    names = stems(folder, ".jpg")
    if not names:
        what = "holds no image" if folder.is_dir() else "no such folder"
        raise OvssError(f"{folder}: {what} (*.jpg); the split's images belong there")
    return tuple(sorted({*names, *labelled}))
