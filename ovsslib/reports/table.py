"""One table of all results: measured runs and published figures, in separate blocks.

A row never holds both, and nothing is averaged. `select` chooses figures, `build` arranges them,
and `frame` gives them as data; `ovsslib.reports.markup` writes the table. A figure's place is
counted among those of its own kind, supervision, class filter and protocol only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.lookup import unknown
from ovsslib.methods import SUPERVISION
from ovsslib.reports.places import places
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
        "supervision": "supervision",
        "protocol": "protocol",
        "filter": "class filter",
        "settings": "settings",
    },
    "published": {
        "system": "system",
        "training": "training",
        "supervision": "supervision",
        "model": "backbone",
        "protocol": "protocol",
        "filter": "class filter",
        "tier": "tier",
    },
}
"""Kind of block -> field of a figure -> title of its column."""


@dataclass(frozen=True)
class Row:
    """One system.

    Attributes:
        heads: Who and how, one text for each of `HEADS`.
        cells: Title of a data set's column -> its figure.
        places: Title -> the figure's place and among how many, see `ovsslib.reports.places`; only
            of figures that have one.
    """

    heads: tuple[str, ...]
    cells: dict[str, Figure]
    places: dict[str, tuple[int, int]]

    @property
    def figures(self) -> list[Figure]:
        """Its figures, in the order in which they came."""
        return list(self.cells.values())


@dataclass(frozen=True)
class Block:
    """Rows of one kind.

    Attributes:
        kind: `"measured"` or `"published"`.
        columns: Titles of the data sets' columns.
        rows: By supervision, as in `ovsslib.methods.SUPERVISION`, those that look for all
            classes first; within, in the order in which the figures came.
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
        sources: Numbered from 1; of a published figure with its version and date.
        notes: Lettered from a.
        left_out: Number of published figures not shown because nobody has checked them.
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
    """Choose figures by metric, data set and protocol.

    Args:
        figures: Measured and published ones.
        metric: Name of the figure.
        datasets: Names; none means all.
        protocols: Names, such as `"tcl"` or `"own"`; none means all.
        unverified: Whether to keep published figures that nobody has checked.

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
            # Names with remarks in brackets would make the list unreadable.
            raise unknown("protocol", name, {other for other in known if " (" not in other})
    wanted = [
        figure
        for figure in figures
        if (not names or figure.dataset in names)
        and (not protocols or {figure.protocol, figure.protocol_name} & set(protocols))
    ]
    chosen = [figure for figure in wanted if unverified or figure.verified]
    if not chosen:
        asked = ", ".join([metric, *datasets, *protocols])
        raise OvssError(
            f"no result matches {asked}; relax the filter, or produce one with `ovss run`"
        )
    return chosen, len(wanted) - len(chosen)


def build(figures: Sequence[Figure], left_out: int = 0) -> Table:
    """Arrange figures in blocks, rows and columns.

    Two runs that would share a cell get a row each: a table does not decide which of them counts.

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
    ranked = list(zip(figures, places(figures), strict=True))
    blocks = []
    for kind in HEADS:
        own = [(figure, place) for figure, place in ranked if figure.kind == kind]
        if own:
            blocks.append(_block(kind, own))
    shown = [f for block in blocks for row in block.rows for f in cells(block, row)]
    sources = tuple(dict.fromkeys(source(figure) for figure in shown))
    notes = tuple(dict.fromkeys(note for figure in shown if (note := remark(figure))))
    return Table(metrics[0], tuple(blocks), sources, notes, left_out)


def remark(figure: Figure) -> str:
    """The footnote of one figure; empty where there is nothing to say."""
    parts = []
    if figure.images is not None:
        parts.append(_images(figure.images))
    if figure.limit is not None:
        parts.append(f"first {_images(figure.limit)} only")
    if figure.failed:
        text = f"{_images(figure.failed)} could not be read"
        accepted = f"accepted with --allow-bad {figure.allowed_bad}"
        parts.append(f"{text} ({accepted})" if figure.allowed_bad else text)
    return "; ".join([*parts, figure.note] if figure.note else parts)


def source(figure: Figure) -> str:
    """Where a figure is from, with version and date where it is published."""
    if figure.kind != "published":
        return figure.source
    return "; ".join(part for part in (figure.source, figure.version, figure.date) if part)


def cells(block: Block, row: Row) -> list[Figure]:
    """A row's figures, in the order of its block's columns."""
    return [row.cells[title] for title in block.columns if title in row.cells]


def frame(figures: Iterable[Figure]) -> Any:
    """The figures as a DataFrame, one a row, per cent; `kind` is measured or published.

    Args:
        figures: In the order of the rows.

    Returns:
        The fields of `Figure`, and `place` and `among`: the figure's place and the number of
        figures it is ranked among (see `ovsslib.reports.places`).
    """
    import pandas as pd

    figures = list(figures)
    names = [field.name for field in dataclasses.fields(Figure) if field.name != "text"]
    ranks = [place or (None, None) for place in places(figures)]
    table = pd.DataFrame(
        [
            [*(getattr(figure, name) for name in names), *rank]
            for figure, rank in zip(figures, ranks, strict=True)
        ],
        columns=[*names, "place", "among"],
    )
    whole = ("images", "limit", "failed", "allowed_bad", "place", "among")
    return table.astype(dict.fromkeys(whole, "Int64"))


def _block(kind: str, ranked: list[tuple[Figure, tuple[int, int] | None]]) -> Block:
    titles = {_column(figure): figure for figure, _ in ranked}
    rows: dict[tuple[str, ...], list[Row]] = {}
    for figure, place in ranked:
        heads = tuple(getattr(figure, name) for name in HEADS[kind])
        # Published figures of two sources are two rows: each row has the protocol of its source.
        same = rows.setdefault((*heads, source(figure) if kind == "published" else ""), [])
        title = _column(figure)
        row = next((row for row in same if title not in row.cells), None)
        if row is None:
            same.append(row := Row(heads, {}, {}))
        row.cells[title] = figure
        if place is not None:
            row.places[title] = place
    return Block(
        kind,
        tuple(sorted(titles, key=lambda title: _rank(titles[title]))),
        tuple(sorted((row for same in rows.values() for row in same), key=_group)),
    )


def _group(row: Row) -> tuple[int, bool, str]:
    """What the rows are sorted by."""
    figure = row.figures[0]
    known = list(SUPERVISION)
    rank = known.index(figure.supervision) if figure.supervision in known else len(known)
    return rank, figure.filter != "all", figure.filter


def _column(figure: Figure) -> str:
    return figure.dataset if figure.split == "val" else f"{figure.dataset} {figure.split}"


def _rank(figure: Figure) -> tuple[int, str, bool, str]:
    place = ORDER.index(figure.dataset) if figure.dataset in ORDER else len(ORDER)
    return place, figure.dataset, figure.split != "val", figure.split


def _images(count: int) -> str:
    return f"{count} {'image' if count == 1 else 'images'}"
