"""Which notebooks must run again: those whose inputs differ from when they ran last.

Inputs are the notebook, the parameters, the library's files, everything in `data/`, and the pinned
versions. What is not seen: files outside the checkout that a parameter names, and the machine.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ovsslib.io.files import write_atomic

_PAGES = ("build", "changed", "conf", "links", "mathml", "pages", "protocol_tables", "readme")
"""Modules of `ovsslib.book` that make pages only: no notebook calls them."""


def stale(
    notebooks: Sequence[Path], target: Path, given: Mapping[str, Any], root: Path
) -> list[Path]:
    """The notebooks that have no executed copy made from what is here now.

    Args:
        notebooks: The sources.
        target: Folder of the executed copies.
        given: Parameters for all of them.
        root: The checkout.

    Returns:
        Some of the sources, in their order.
    """
    return [
        path
        for path in notebooks
        if not (target / path.name).is_file() or _kept(target, path) != digest(path, given, root)
    ]


def keep(path: Path, target: Path, given: Mapping[str, Any], root: Path) -> None:
    """Note what an executed copy was made from, beside it."""
    write_atomic(target / f"{path.stem}.inputs", digest(path, given, root) + "\n")


def digest(path: Path, given: Mapping[str, Any], root: Path) -> str:
    """SHA-256 of everything that decides what a notebook shows.

    Args:
        path: The notebook's source.
        given: Its parameters.
        root: The checkout.

    Returns:
        64 hex digits.
    """
    sha = hashlib.sha256(_shared(root).encode() + path.read_bytes())
    sha.update(json.dumps(given, sort_keys=True, default=str).encode())
    return sha.hexdigest()


def _kept(target: Path, path: Path) -> str:
    note = target / f"{path.stem}.inputs"
    return note.read_text(encoding="utf-8").strip() if note.is_file() else ""


@functools.cache
def _shared(root: Path) -> str:
    """The part that all notebooks share; hashed once, as it does not change during a build."""
    sha = hashlib.sha256(platform.python_version().encode())
    library, pages = root / "ovsslib", {root / "ovsslib" / "book" / f"{n}.py" for n in _PAGES}
    files = [path for path in library.rglob("*") if path.suffix != ".pyc" and path not in pages]
    files += [*(root / "data").rglob("*"), *root.glob("requirements*.lock")]
    for path in sorted(path for path in files if path.is_file()):
        sha.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return sha.hexdigest()
