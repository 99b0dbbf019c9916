"""ADE20K, scene parsing (ADEChallengeData2016): 150 classes; pixels labelled 0 are not scored.

Layout and numbering: github.com/CSAILVision/sceneparsing. Pixel values are 0 for "other objects",
which the official evaluation ignores, and 1..150 in the order of `objectInfo150.txt`.
"""

from __future__ import annotations

import os
from pathlib import Path

from ovsslib.datasets.base import find_root, list_images, stems
from ovsslib.datasets.folder import FolderDataset, Layout, plain_table
from ovsslib.errors import OvssError
from ovsslib.io.class_names import class_names

_FOLDERS = {"val": "validation", "train": "training"}

# The 50 classes without instances in ADE20K's instance track (100 things), by label.
_STUFF = frozenset(
    int(label)
    for label in (
        "1 2 3 4 5 6 7 10 12 14 17 18 22 26 27 29 30 35 41 47 49 52 53 55 60 61 62 64 69 78 80 85"
        " 92 95 97 100 101 102 106 107 110 114 115 118 123 129 132 141 142 146"
    ).split()
)

ADE20K = Layout(
    name="ade20k",
    classes=class_names("ade150"),
    things=frozenset(range(1, 151)) - _STUFF,
    covered=True,
    background=False,
    zero_is_void=True,
    below=("ADEChallengeData2016", "ade/ADEChallengeData2016", "ade20k/ADEChallengeData2016"),
    expected={"train": (20210,), "val": (2000,)},
)


class ADE20KDataset(FolderDataset):
    """ADE20K's images and labels (a `Dataset`).

    Args:
        root: `ADEChallengeData2016` or a folder that holds it, as such or as `ade/…`; None
            looks below `$OVSS_DATA`.
        split: `"val"` or `"train"`; all images and labels of its folders.

    Raises:
        OvssError: Root or split is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str = "val",
        layout: Layout = ADE20K,
    ) -> None:
        if split not in _FOLDERS:
            raise OvssError(f"ade20k has no split {split!r}; there are {', '.join(_FOLDERS)}")
        folder = _FOLDERS[split]
        holds = (f"annotations/{folder}",)
        base = find_root(root, layout.below, holds=holds, hint="ovss data download ade20k gets it")
        labelled = stems(base / "annotations" / folder, ".png")
        ids = list_images(base / "images" / folder, labelled)
        super().__init__(layout, base, split, ids, plain_table(layout, void=False))
        self._folder = folder

    def image_path(self, name: str) -> Path:
        """`images/validation/<name>.jpg`."""
        return self.root / "images" / self._folder / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`annotations/validation/<name>.png`."""
        return self.root / "annotations" / self._folder / f"{name}.png"
