"""The packages stand in one order, and each imports only what stands before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.helpers import ROOT
from support.packages import FLAT, PACKAGES

PACKAGE = ROOT / "ovsslib"
RANK = {name: rank for rank, name in enumerate((*FLAT, *PACKAGES))}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything of this library that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "ovsslib":
            yield from ((node.lineno, f"ovsslib.{name.name}") for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def room(path: Path) -> str:
    """The package or flat module that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if room(path) not in ("__init__", "__main__"))


def test_every_package_has_its_place() -> None:
    assert {room(path) for path in FILES} == RANK.keys()
    assert len(list(PACKAGE.glob("*.py"))) <= 10


def test_a_package_imports_only_what_stands_before_it() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {room(path)} imports {name}"
        for path in FILES
        for line, name in imports(path)
        if name.startswith("ovsslib.")
        and room(path) != name.split(".")[1]
        and RANK.get(name.split(".")[1], -1) >= RANK[room(path)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_is_left() -> None:
    """Between modules too, whatever is imported at the top or within a function."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {name: {to for _, to in _modules(path, names)} - {name} for name, path in names.items()}
    while free := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in free:
            del graph[name]
    assert not graph, f"circular imports among {sorted(graph)}"


def _modules(path: Path, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """As `imports`, with `from package import module` resolved to the module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield node.lineno, full if full in known else node.module


@pytest.mark.parametrize("path", [PACKAGE / "pnp" / "pipeline.py"])
def test_the_walk_sees_imports_inside_functions(path: Path) -> None:
    found = {name for _, name in imports(path)}
    assert {"ovsslib.pnp.salience", "ovsslib.vlm"} <= found
