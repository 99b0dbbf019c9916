"""Small notebooks like those of the book."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = 'limit: int = 2\nname: str = "cat"\nfolder: str | None = None'
VALIDATION = "from ovsslib.book import notebook\n\nparams = notebook.parameters(globals())"


def write_notebook(path: Path, *sources: str) -> Path:
    """A notebook with the two first cells that all have, and more code."""
    cells = [new_markdown_cell(f"# {path.stem}"), new_code_cell(PARAMETERS)]
    cells[1].metadata["tags"] = ["parameters"]
    cells += [new_code_cell(source) for source in (VALIDATION, *sources)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path
