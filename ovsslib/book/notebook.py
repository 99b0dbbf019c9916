"""What the notebooks share: checked parameters, quiet progress, figures with alternative text.

A notebook begins with its parameters, then `params = notebook.parameters(globals())` (see
`ovsslib.book.parameters`), and ends with `provenance`.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from ovsslib.book.parameters import parameters
from ovsslib.errors import OvssError
from ovsslib.paths import checkout, in_checkout
from ovsslib.redact import redacted

__all__ = ["figure", "glue", "parameters", "progress", "provenance"]

T = TypeVar("T")

#: Set by the book build: nothing but results is written into the executed notebooks.
QUIET = "OVSS_QUIET"
#: Where figures are saved; without it, the book's folder of generated images.
FIGURES = "OVSS_FIGURES"
#: The key in an output's metadata under which `figure` leaves texts for the book build.
FIGURE_KEY = "ovss-figure"


def progress(items: Iterable[T], description: str = "", total: int | None = None) -> Iterable[T]:
    """Iterate with a plain-text progress bar, silent while the book is built."""
    from tqdm import tqdm

    quiet = bool(os.environ.get(QUIET))
    return tqdm(items, desc=description, total=total, file=sys.stderr, disable=quiet, leave=False)


def glue(name: str, value: Any) -> None:
    """Keep a value under a name, for the book's text: ``{glue:text}`name:.1f```.

    Args:
        name: The name, unique in the notebook.
        value: A number, a text or anything with a display; numpy numbers become Python's.
    """
    try:
        from myst_nb import glue as keep
    except ImportError:  # outside the book's environment there is no text to fill
        return
    keep(name, value.item() if hasattr(value, "item") else value, display=False)


def figure(fig: Any, name: str, alt: str, caption: str | None = None, dpi: int = 150) -> None:
    """Show a matplotlib figure with alternative text, and save it for the book's pages.

    It is saved as `book/_static/generated/<name>.png` (nowhere, outside a checkout). One figure
    per cell: the book takes the texts for the whole cell.

    Args:
        fig: The matplotlib figure; it is closed.
        name: File name without ending, lower case and hyphens; also the label `fig-<name>`.
        alt: What is to be seen, for those who cannot see it.
        caption: Text under the figure, in MyST.
        dpi: Pixels per inch.

    Raises:
        OvssError: There is no alternative text.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image, display

    from ovsslib.io.images import write_atomic

    if not alt.strip():
        raise OvssError(f"figure {name!r} has no alternative text: say what is to be seen")
    buffer = io.BytesIO()
    # opaque white: readable in the book's dark mode too
    fig.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", facecolor="white")
    plt.close(fig)
    texts = {"name": f"fig-{name}", "alt": " ".join(alt.split()), "caption": caption}
    display(Image(data=buffer.getvalue()), metadata={FIGURE_KEY: texts})
    folder = _figures()
    if folder is not None:
        write_atomic(folder / f"{name}.png", buffer.getvalue())


def provenance(path: Path | None = None, **facts: Any) -> None:
    """A notebook's last cell: what its numbers come from, as a table and as JSON.

    Args:
        path: File to write, if any.
        facts: What else to keep, such as `seconds` or `config`; `device` and `dtype` are
            those of the run.
    """
    from IPython.display import Markdown, display

    from ovsslib.io.images import write_atomic
    from ovsslib.io.provenance import provenance as gather

    run = {name: facts.pop(name) for name in ("device", "dtype") if name in facts}
    record = redacted({**facts, **gather(**run)})
    rows = [f"| {name} | `{_cell(value)}` |" for name, value in record.items()]
    display(Markdown("\n".join(["| made with | |", "|:--|:--|", *rows])))
    if path is not None:
        write_atomic(path, json.dumps(record, indent=1, default=str) + "\n")


def _cell(value: Any) -> str:
    """A value in one cell of a Markdown table."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.replace("|", "\\|").replace("\n", " ")


def _figures() -> Path | None:
    if FIGURES in os.environ:
        return Path(os.environ[FIGURES])
    return checkout() / "book" / "_static" / "generated" if in_checkout() else None
