"""Diorama, the miniature world that ships with the library, in VOC's layout."""

from __future__ import annotations

import os

from ovsslib.datasets.folder import Layout
from ovsslib.datasets.voc import VOCDataset
from ovsslib.io.class_names import class_names
from ovsslib.paths import data

SHIPPED = data("diorama")
"""The splits that come with the library."""

DIORAMA = Layout(
    name="diorama",
    classes=class_names("diorama"),
    things=frozenset(range(1, 15)),
    covered=True,
    background=False,
    below=("diorama",),
    shipped=SHIPPED,
)


def diorama(root: str | os.PathLike[str] | None = None, split: str = "val") -> VOCDataset:
    """Diorama's images and exact masks.

    Args:
        root: Folder made by `ovss diorama make`; None takes `$OVSS_DATA/diorama` where there is
            one, else the shipped one.
        split: `"val"` (200 images; figures are reported on it) or `"tune"` (100; choices are
            made on it).

    Returns:
        A `Dataset` of 14 things and 6 stuff classes; background is unnamed clutter.

    Raises:
        OvssError: Root or split is missing.
    """
    return VOCDataset(root, split, DIORAMA)
