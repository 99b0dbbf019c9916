"""COCO-Stuff 164k: 80 things and 91 stuff classes in pixel maps; and COCO's own numbering.

Source: github.com/nightrome/cocostuff. A pixel of an official map holds the official id less one
(0..181), or 255 where nothing is labelled. Eleven ids occur in no image; labels count without
them. mmsegmentation's converted maps (`…_labelTrainIds.png`, 0..170 and 255) are read as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovsslib.datasets.base import find_root, list_images, stems
from ovsslib.datasets.folder import ENOUGH, ILLEGAL, FolderDataset, Layout, label_table
from ovsslib.errors import OvssError
from ovsslib.io.class_names import class_names
from ovsslib.io.palette import VOID

ABSENT_IDS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91})
"""Official ids that occur in no image: street sign, hat, shoe, eye glasses, plate, mirror, window,
desk, door, blender, hair brush."""
THING_IDS: tuple[int, ...] = tuple(sorted(set(range(1, 91)) - ABSENT_IDS))
"""Official ids of the 80 things; the label is the position, counted from 1."""
STUFF_IDS: tuple[int, ...] = tuple(range(92, 183))
"""Official ids of the 91 stuff classes; their labels are 81..171."""

COCO_CLASSES: tuple[str, ...] = class_names("coco171")
BELOW = ("coco", "coco_stuff164k", "COCO", "coco2017", "coco_object")
"""Where COCO usually lies within a folder of data sets."""
SIZES: dict[str, tuple[int, ...]] = {"train": (118287,), "val": (5000,)}
_MAPS = ("stuffthingmaps", "annotations", "stuffthingmaps_trainval2017")

COCO_STUFF = Layout(
    name="coco-stuff",
    classes=COCO_CLASSES,
    things=frozenset(range(1, 81)),
    covered=True,
    background=False,
    below=BELOW,
    expected=SIZES,
)


def official_table() -> np.ndarray:
    """From a pixel of an official map (id less one) to labels 1..171; 255 is void."""
    labels = {number - 1: k for k, number in enumerate((*THING_IDS, *STUFF_IDS), 1)}
    return label_table(labels | {VOID: VOID})


def train_id_table() -> np.ndarray:
    """From a pixel of mmsegmentation's converted map (label less one) to labels 1..171."""
    return label_table({k: k + 1 for k in range(171)} | {VOID: VOID})


@dataclass(frozen=True)
class MapFiles:
    """Pixel maps of one kind.

    Attributes:
        folder: Where they lie.
        suffix: End of their names before `.png`.
        table: Stored number -> label; see `label_table`.
        names: Of the images that they are for.
    """

    folder: Path
    suffix: str
    table: np.ndarray
    names: tuple[str, ...]


class CocoPixelMaps(FolderDataset):
    """COCO's images with pixel maps (a `Dataset`).

    The layouts of COCO-Stuff's repository, of mmsegmentation and of GroupViT are accepted:
    images in `images/val2017` or `val2017`; maps in `val2017` below `stuffthingmaps` or
    `annotations`. The split is all images, as in `instances_val2017.json`, and all maps.

    Args:
        root: COCO's folder or one that holds it; None looks below `$OVSS_DATA`.
        split: `"val"` or `"train"`.
        layout: Which data set it is.
        tables: End of a label file's name before `.png` -> table; where there are files of
            several kinds, the kind with the most is read, the first of equals.

    Raises:
        OvssError: Root, split or maps are missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None,
        split: str,
        layout: Layout,
        tables: Mapping[str, np.ndarray],
    ) -> None:
        year = year_of(split, layout.name)
        holds = tuple(f"{folder}/{year}" for folder in _MAPS)
        hint = f"ovss data download {layout.name} gets it"
        folder = find_root(root, layout.below, holds=holds, hint=hint)
        self.maps = _find_maps(folder, year, tables)
        self.image_folder = image_folder(folder, year)
        ids = list_images(self.image_folder, self.maps.names)
        super().__init__(layout, folder, split, ids, self.maps.table)

    def image_path(self, name: str) -> Path:
        """`images/val2017/<name>.jpg`."""
        return self.image_folder / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`stuffthingmaps/val2017/<name>.png`, or whatever kind there is."""
        return self.maps.folder / f"{name}{self.maps.suffix}.png"

    def doubts(self, images_with: np.ndarray, count: int) -> list[str]:
        """Notice maps of one numbering under the names of another.

        Official maps alone hold 171..181 (walls, windows), all but GroupViT's hold 81..170 or 255.
        A few images may lack them, unless other numbers give them away.
        """
        held = np.flatnonzero(images_with)
        numbering = "_labelTrainIds" if held.max(initial=0) > 80 else "_instanceTrainIds"
        if ((held > 170) & (held != VOID)).any():
            numbering = ""
        sure = count >= ENOUGH or (self.table[held] == ILLEGAL).any()
        if numbering == self.maps.suffix or not sure or not len(held):
            return []
        right, own = (f"*{end}.png" if end else "ID.png" for end in (numbering, self.maps.suffix))
        return [
            f"the files are called {own}, but hold the numbers of {right}: were maps renamed? Call "
            f"them {right} again, or get the official ones (ovss data download coco-stuff)"
        ]


def year_of(split: str, name: str) -> str:
    """`"val2017"` for the split `"val"`.

    Raises:
        OvssError: COCO has no labels for such a split.
    """
    if split not in SIZES:
        raise OvssError(f"{name} has no split {split!r}; there are {', '.join(SIZES)}")
    return f"{split}2017"


def image_folder(root: Path, year: str) -> Path:
    """`images/val2017` or, as the official archive has it, `val2017`."""
    inside = root / "images" / year
    return inside if inside.is_dir() or not (root / year).is_dir() else root / year


def _is(stem: str, suffix: str) -> bool:
    """Whether a file's stem has this suffix; without one, it must not be a converted map's."""
    return stem.endswith(suffix) if suffix else "_" not in stem


def _find_maps(root: Path, year: str, tables: Mapping[str, np.ndarray]) -> MapFiles:
    best: MapFiles | None = None
    for folder in (root / name / year for name in _MAPS):
        labels = stems(folder, ".png")
        for suffix, table in tables.items():
            names = tuple(stem.removesuffix(suffix) for stem in labels if _is(stem, suffix))
            if len(names) > (len(best.names) if best else 0):
                best = MapFiles(folder, suffix, table, names)
    if best is None:
        ends = " or ".join(f"*{suffix}.png" for suffix in tables)
        raise OvssError(
            f"{root}: no pixel maps ({ends}) in {year} below stuffthingmaps or annotations; "
            "ovss data download coco-stuff gets the official ones"
        )
    return best


def coco_stuff(root: str | os.PathLike[str] | None = None, split: str = "val") -> CocoPixelMaps:
    """COCO-Stuff 164k's 171 classes; 255 is void, there is no background.

    Arguments and errors as in `CocoPixelMaps`.
    """
    tables = {"": official_table(), "_labelTrainIds": train_id_table()}
    return CocoPixelMaps(root, split, COCO_STUFF, tables)
