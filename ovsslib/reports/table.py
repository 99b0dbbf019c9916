"""One table of all results: measured runs and published figures, in blocks of their own.

A row never holds both, and nothing is averaged. `ovsslib.reports.render` writes the table as
Markdown or HTML, `frame` gives it as data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.lookup import unknown
from ovsslib.reports.published import OWN, Figure, canonical

ORDER = (
    *("diorama", "voc21", "context60", "coco-object81", "coco-object-instances"),
    *("voc20", "context59", "coco-object80", "coco-stuff", "ade20k"),
)
"""Data sets from left to right; others follow by name."""
HEADS: dict[str, dict[str, str]] = {
    "measured": {
        "system": "system",
        "model": "model",
        "protocol": "protocol",
        "filter": "class filter",
        "settings": "settings",
    },
    "published": {
        "system": "system",
        "training": "training",
        "model": "backbone",
        "protocol": "protocol",
        "filter": "class filter",
    },
}
"""Kind of block -> field of a figure -> title of its column."""


@dataclass(frozen=True)
class Row:
    """One system.

    Attributes:
        heads: Who and how, one text for each of `HEADS`.
        cells: Title of a data set's column -> its figure.
    """

    heads: tuple[str, ...]
    cells: dict[str, Figure]


@dataclass(frozen=True)
class Block:
    """Rows of one kind.

    Attributes:
        kind: `"measured"` or `"published"`.
        columns: Titles of the data sets' columns.
        rows: In the order in which the figures came.
    """

    kind: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """What `build` made.

    Attributes:
        metric: Name of the figure in all cells.
        blocks: Measured, then published; without those that would be empty.
        sources: Numbered from 1.
        notes: Lettered from a.
        left_out: Number of published figures that nobody has checked and that are not shown.
    """

    metric: str
    blocks: tuple[Block, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: int = 0


def select(
    figures: Iterable[Figure],
    *,
    metric: str = "miou",
    datasets: Sequence[str] = (),
    protocols: Sequence[str] = (),
    unverified: bool = False,
) -> tuple[list[Figure], int]:
    """The figures that are asked for.

    Args:
        figures: Measured and published ones.
        metric: Name of the figure.
        datasets: Names; none means all.
        protocols: Names, such as `"tcl"` or `"own"`; none means all.
        unverified: Whether published figures that nobody has checked are wanted.

    Returns:
        The figures, and how many were left out because nobody has checked them.

    Raises:
        OvssError: An unknown data set or protocol (the nearest is named), or nothing is left.
    """
    from ovsslib.protocols.protocol import PROTOCOLS

    figures = [figure for figure in figures if figure.metric == metric]
    names = {canonical(name, {figure.dataset for figure in figures}) for name in datasets}
    known = {OWN, *PROTOCOLS}
    known |= {name for figure in figures for name in (figure.protocol, figure.protocol_name)}
    for name in protocols:
        if name not in known:
            # What stands in brackets would make the list unreadable.
            raise unknown("protocol", name, {one for one in known if " (" not in one})
    wanted = [
        figure
        for figure in figures
        if (not names or figure.dataset in names)
        and (not protocols or {figure.protocol, figure.protocol_name} & set(protocols))
    ]
    kept = [figure for figure in wanted if unverified or figure.verified]
    if not kept:
        asked = ", ".join([metric, *datasets, *protocols])
        raise OvssError(f"no figure fits {asked}; ask for less, or measure it with `ovss run`")
    return kept, len(wanted) - len(kept)


def build(figures: Sequence[Figure], left_out: int = 0) -> Table:
    """Put figures into blocks, rows and columns.

    Two runs that would share a cell get a row each: which of them counts is not for a table to say.

    Args:
        figures: Of one metric, at least one.
        left_out: See `Table`.

    Returns:
        The table.

    Raises:
        OvssError: There is no figure, or they are of several metrics.
    """
    metrics = sorted({figure.metric for figure in figures})
    if len(metrics) != 1:
        raise OvssError(f"a table shows one metric, here are: {', '.join(metrics) or 'none'}")
    blocks = []
    for kind in HEADS:
        own = [figure for figure in figures if figure.kind == kind]
        if own:
            blocks.append(_block(kind, own))
    shown = [f for block in blocks for row in block.rows for f in _cells(block, row)]
    sources = tuple(dict.fromkeys(figure.source for figure in shown))
    notes = tuple(dict.fromkeys(note for figure in shown if (note := remark(figure))))
    return Table(metrics[0], tuple(blocks), sources, notes, left_out)


def remark(figure: Figure) -> str:
    """What a footnote must say about one figure; empty where there is nothing to say."""
    parts = []
    if figure.images is not None:
        parts.append(f"{figure.images} {_pictures(figure.images)}")
    if figure.limit is not None:
        parts.append(f"first {figure.limit} {_pictures(figure.limit)} only")
    if figure.failed:
        text = f"{figure.failed} {_pictures(figure.failed)} could not be read"
        accepted = f"accepted with --allow-bad {figure.allowed_bad}"
        parts.append(f"{text} ({accepted})" if figure.allowed_bad else text)
    return "; ".join([*parts, figure.note] if figure.note else parts)


def frame(figures: Iterable[Figure]) -> Any:
    """The figures as a DataFrame, one a row, per cent; `kind` is measured or published.

    Args:
        figures: In the order of the rows.
    """
    import pandas as pd

    names = [field.name for field in dataclasses.fields(Figure) if field.name != "text"]
    table = pd.DataFrame(
        [[getattr(figure, name) for name in names] for figure in figures], columns=names
    )
    return table.astype(dict.fromkeys(("images", "limit", "failed", "allowed_bad"), "Int64"))


def _block(kind: str, figures: list[Figure]) -> Block:
    titles = {_column(figure): figure for figure in figures}
    rows: dict[tuple[str, ...], list[dict[str, Figure]]] = {}
    for figure in figures:
        # Published figures of two sources are two rows: each row has the protocol of its source.
        source = figure.source if kind == "published" else ""
        same = rows.setdefault((*(getattr(figure, name) for name in HEADS[kind]), source), [])
        free = next((cells for cells in same if _column(figure) not in cells), None)
        if free is None:
            same.append(free := {})
        free[_column(figure)] = figure
    return Block(
        kind,
        tuple(sorted(titles, key=lambda title: _rank(titles[title]))),
        tuple(Row(heads[:-1], cells) for heads, same in rows.items() for cells in same),
    )


def _cells(block: Block, row: Row) -> list[Figure]:
    return [row.cells[title] for title in block.columns if title in row.cells]


def _column(figure: Figure) -> str:
    return figure.dataset if figure.split == "val" else f"{figure.dataset} {figure.split}"


def _rank(figure: Figure) -> tuple[int, str, bool, str]:
    place = ORDER.index(figure.dataset) if figure.dataset in ORDER else len(ORDER)
    return place, figure.dataset, figure.split != "val", figure.split


def _pictures(count: int) -> str:
    return "image" if count == 1 else "images"
