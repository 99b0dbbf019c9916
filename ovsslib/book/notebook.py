"""What the notebooks share: checked parameters, quiet progress, figures with alternative text.

A notebook's first code cell (tagged `parameters`) declares each parameter with its type; the next
cell checks what papermill put in their place, and the last one shows `provenance`:

.. code-block:: python

    vlm: str = "micro-blip"          # the cell tagged "parameters"
    limit: int | None = None

    from ovsslib.book import notebook     # the next cell
    params = notebook.parameters(globals())
"""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ovsslib.book.numbers import PROVENANCE_KEY
from ovsslib.book.parameters import check, plain
from ovsslib.errors import OvssError
from ovsslib.lookup import check_names, fits, spell
from ovsslib.paths import checkout, data, in_checkout

T = TypeVar("T")

QUIET = "OVSS_QUIET"
"""Set by the book build: nothing but results is written into the executed notebooks."""
FIGURES = "OVSS_FIGURES"
"""Where figures are saved; without it, the book's folder of generated images."""
FIGURE_KEY = "ovss-figure"
"""The key in an output's metadata under which `figure` leaves texts for the book build."""
DPI = 150
"""Pixels per inch of figures."""


def parameters(namespace: Mapping[str, Any]) -> Any:
    """Check a notebook's parameters and freeze them; papermill only warns about unknown names.

    Ranges, names and files are checked as `ovsslib.book.parameters` says, and values brought into
    one form.

    Args:
        namespace: The notebook's `globals()`. Declared parameters are its annotated names.

    Returns:
        An instance of a frozen dataclass with one field per declared parameter.

    Raises:
        OvssError: A parameter was passed that is not declared (the nearest declared name is
            given), or has a value that is of another type, out of range or names what is not
            there, or none is declared.

    Example:
        >>> parameters({"__annotations__": {"limit": int}, "limit": 3})
        Parameters(limit=3)
    """
    declared: dict[str, Any] = dict(namespace.get("__annotations__", {}))
    if not declared:
        raise OvssError(
            "this notebook declares no parameters: write them in the cell tagged 'parameters', "
            'each with its type, such as `vlm: str = "micro-blip"`'
        )
    check_names("notebook parameter", _passed(namespace), declared)
    values = {}
    for name, kind in declared.items():
        if name not in namespace:
            raise OvssError(f"parameter {name!r} has no value: give it a default")
        if not fits(namespace[name], kind):
            raise OvssError(
                f"parameter {name!r} must be {spell(kind)}, not "
                f"{namespace[name]!r} ({type(namespace[name]).__name__})"
            )
        values[name] = plain(namespace[name], kind, name)
    check(values)
    return dataclasses.make_dataclass("Parameters", values, frozen=True)(**values)


def bench_records(folder: str | None, *needed: str) -> dict[str, list[dict[str, Any]]]:
    """Records of `ovss bench`, by what was measured.

    Args:
        folder: Where they are; None for the shipped ones.
        needed: Measurements that must be there, such as `"salience"`.

    Returns:
        Measurement -> its records, in the order of their files' names.

    Raises:
        OvssError: A file cannot be read, or a measurement is not there.

    Example:
        >>> "salience" in bench_records(None, "refine")
        True
    """
    where, kinds = Path(folder) if folder else data("benchmarks"), dict[str, Any]()
    for path in sorted(where.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            kinds.setdefault(record["kind"].removeprefix("bench-"), []).append(record)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise OvssError(f"{path}: is no record of ovss bench; move it elsewhere") from error
    for kind in needed:
        need(kinds.get(kind), f"record of `ovss bench {kind}` in {where}")
    return kinds


def need(rows: Sequence[T] | None, what: str) -> Sequence[T]:
    """Rows that a notebook cannot do without.

    Args:
        rows: The rows.
        what: What one of them is, for the message.

    Raises:
        OvssError: There is none.
    """
    if not rows:
        raise OvssError(f"there is no {what}; make it first, or name another folder")
    return rows


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


def figure(fig: Any, name: str, alt: str, caption: str | None = None) -> None:
    """Show a matplotlib figure with alternative text, and save it for the book's pages.

    Charts are drawn as vectors (SVG), figures that hold pictures as pixels (PNG, 256 colours).
    The PNG is saved as `book/_static/generated/<name>.png` (nowhere, outside a checkout). One
    figure per cell: the book takes the texts for the whole cell.

    Args:
        fig: The matplotlib figure; it is closed.
        name: File name without ending, lower case and hyphens; also the label `fig-<name>`.
        alt: What the figure shows, for those who cannot see it.
        caption: Text under the figure, in MyST.

    Raises:
        OvssError: There is no alternative text.
    """
    import matplotlib.pyplot as plt
    from IPython.display import SVG, Image, display

    from ovsslib.io.files import write_atomic

    if not alt.strip():
        raise OvssError(f"figure {name!r} has no alternative text: say what it shows")
    pixels = _png(fig)
    texts = {"name": f"fig-{name}", "alt": " ".join(alt.split()), "caption": caption}
    drawn = SVG(_svg(fig)) if _is_chart(fig) else Image(data=pixels)
    plt.close(fig)
    display(drawn, metadata={FIGURE_KEY: texts})
    folder = _figures()
    if folder is not None:
        write_atomic(folder / f"{name}.png", pixels)


def _is_chart(fig: Any) -> bool:
    """Whether a figure holds lines and text only: no picture, no heat map, and few marks."""
    parts = [part for axes in fig.axes for part in axes.collections]
    pictures = any(axes.images for axes in fig.axes)
    grids = any(hasattr(part, "get_coordinates") for part in parts)  # hairlines between cells
    return not (pictures or grids) and sum(len(part.get_offsets()) for part in parts) < 2000


def _png(fig: Any) -> bytes:
    """A figure's pixels in at most 256 colours, a third of the bytes of all colours."""
    from PIL import Image

    buffer = io.BytesIO()
    # opaque white: readable in the book's dark mode too
    fig.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    few = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(256).save(few, "PNG", optimize=True)
    return few.getvalue()


def _svg(fig: Any) -> str:
    """A figure's lines as SVG, the same text every time."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "ovsslib"}):
        fig.savefig(
            buffer, format="svg", bbox_inches="tight", facecolor="white", metadata={"Date": None}
        )
    return buffer.getvalue()


def provenance(path: Path | None = None, **facts: Any) -> None:
    """A notebook's last cell: what its numbers come from, as a table and as JSON.

    Args:
        path: File to write, if any.
        facts: What else to keep, such as `seconds` or `config`; `device` and `dtype` are
            those of the run.
    """
    import pandas as pd
    from IPython.display import HTML, display

    from ovsslib.io.files import write_atomic
    from ovsslib.io.provenance import provenance as gather

    run = {name: facts.pop(name) for name in ("device", "dtype") if name in facts}
    record = {**facts, **gather(**run)}
    cells = [v if isinstance(v, str) else json.dumps(v, default=str) for v in record.values()]
    table = pd.DataFrame({"made with": cells}, index=list(record))
    with pd.option_context("display.max_colwidth", None):
        # HTML: MyST-NB reads Markdown outputs as CommonMark, which has no tables
        shown = HTML(table.to_html(border=0, justify="left"))
        display(shown, metadata={PROVENANCE_KEY: json.loads(json.dumps(record, default=str))})
    if path is not None:
        write_atomic(path, json.dumps(record, indent=1, default=str) + "\n")


def _passed(namespace: Mapping[str, Any]) -> list[str]:
    """Names that papermill assigned; in a plain dict, every public name."""
    if "In" not in namespace:
        return [name for name in namespace if not name.startswith("_")]
    names: list[str] = []
    for source in namespace["In"]:
        if source.startswith("# Parameters\n"):  # how papermill opens the cell it injects
            assigned = [s for s in ast.parse(source).body if isinstance(s, ast.Assign)]
            names += [t.id for s in assigned for t in s.targets if isinstance(t, ast.Name)]
    return names


def _figures() -> Path | None:
    if FIGURES in os.environ:
        return Path(os.environ[FIGURES])
    return checkout() / "book" / "_static" / "generated" if in_checkout() else None
