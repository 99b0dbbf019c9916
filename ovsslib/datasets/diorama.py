"""Diorama, the miniature world that ships with the library, in VOC's layout."""

from __future__ import annotations

from ovsslib.datasets.folder import Layout
from ovsslib.io.class_names import class_names
from ovsslib.paths import data

SHIPPED = data("diorama")
"""The shipped splits: `val` (200 images; results are reported on it) and `tune` (100; choices are
made on it)."""

DIORAMA = Layout(
    name="diorama",
    classes=class_names("diorama"),
    things=frozenset(range(1, 15)),
    covered=True,
    background=False,
    below=("diorama",),
    shipped=SHIPPED,
)
"""14 things and 6 stuff classes; background is clutter without a name."""
