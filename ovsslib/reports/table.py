"""One table of all results: measured runs and published figures, in separate blocks.

A row never holds both, and nothing is averaged. `select` chooses figures, `build` arranges them,
`markdown` and `html` write the table with its notes and sources, and `frame` gives it as data.
"""

from __future__ import annotations

import dataclasses
import html as _html
import string
from collections.abc import Iterable, Iterator, Sequence
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
HEADINGS = {"measured": "Measured with this library", "published": "Published figures"}
EXPLAINED = (
    "Per cent. Measured: value [95 % bootstrap interval over images]. Published: as printed in "
    "the source. Figures under different protocols, class filters or data sets cannot be compared."
)
NOTHING = "Measured with this library: nothing that matches."
STYLE = """
body { font-family: sans-serif; margin: 1.5rem; }
table { border-collapse: collapse; margin: 1.5rem 0; }
caption { text-align: left; font-weight: bold; padding: 0.3rem 0; }
th, td { border: 1px solid #999; padding: 0.2rem 0.5rem; text-align: left; }
"""
CELL = "text-align: right; white-space: nowrap; padding: 0 0.5rem"
"""Style of a cell with a figure, also where the table is part of another page."""


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


def markdown(table: Table) -> str:
    """The table as Markdown: a heading and a table for each block, notes and sources below.

    Args:
        table: What `build` made.

    Returns:
        Text that ends with a line feed.
    """
    lines = [EXPLAINED, ""]
    lines += [] if _measured(table) else [NOTHING, ""]
    for block in table.blocks:
        lines += [f"## {_heading(table, block)}", ""]
        titles = HEADS[block.kind].values()
        lines += [_line([*titles, *block.columns, "source"])]
        lines += [_line([":--"] * len(titles) + ["--:"] * len(block.columns) + [":--"])]
        for heads, cells, sources in _rows(table, block):
            shown = [f"{_plain(text)} ({note})" if note else _plain(text) for text, note in cells]
            numbers = ", ".join(map(str, sources))
            lines.append(_line([*map(_plain, heads), *shown, f"\\[{numbers}\\]"]))
        lines.append("")
    if table.notes:
        lines += ["Notes:", ""]
        lines += [f"- ({letter(n)}) {_plain(note)}" for n, note in enumerate(table.notes)] + [""]
    lines += ["Sources:", ""]
    lines += [f"{n}. {_plain(source)}" for n, source in enumerate(table.sources, start=1)]
    if table.left_out:
        lines += ["", _left_out(table)]
    return "\n".join(lines) + "\n"


def html(table: Table, *, whole: bool = True) -> str:
    """The table as HTML that needs no style sheet, script or other file.

    Args:
        table: What `build` made.
        whole: A page of its own; else a piece for another page, such as a notebook's output.

    Returns:
        Text that ends with a line feed.
    """
    lines = [f"<p>{_text(EXPLAINED)}</p>"]
    lines += [] if _measured(table) else [f"<p>{_text(NOTHING)}</p>"]
    for block in table.blocks:
        lines += ["<table>", f"<caption>{_text(_heading(table, block))}</caption>", "<thead><tr>"]
        titles = [*HEADS[block.kind].values(), *block.columns, "source"]
        lines += [f'<th scope="col">{_text(title)}</th>' for title in titles]
        lines += ["</tr></thead>", "<tbody>"]
        for (first, *others), cells, sources in _rows(table, block):
            row = [
                f'<th scope="row">{_text(first)}</th>',
                *(f"<td>{_text(o)}</td>" for o in others),
            ]
            for text, note in cells:
                link = f' <sup><a href="#table-note-{note}">{note}</a></sup>' if note else ""
                row.append(f'<td style="{CELL}">{_text(text)}{link}</td>')
            links = (f'<a href="#table-source-{n}">{n}</a>' for n in sources)
            lines.append(f"<tr>{''.join(row)}<td>{', '.join(links)}</td></tr>")
        lines += ["</tbody>", "</table>"]
    if table.notes:
        lines += ["<p>Notes:</p>", "<ul>"]
        for n, note in enumerate(table.notes):
            lines.append(f'<li id="table-note-{letter(n)}">({letter(n)}) {_text(note)}</li>')
        lines.append("</ul>")
    lines += ["<p>Sources:</p>", "<ol>"]
    for n, source in enumerate(table.sources, start=1):
        lines.append(f'<li id="table-source-{n}">{_text(source)}</li>')
    lines.append("</ol>")
    if table.left_out:
        lines.append(f"<p>{_text(_left_out(table))}</p>")
    body = "\n".join(lines)
    if not whole:
        return f"{body}\n"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Results ({_text(_metric(table))})</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>Results ({_text(_metric(table))})</h1>\n{body}\n</body>\n</html>\n"
    )


def letter(index: int) -> str:
    """The letters of a note, counted from 0.

    Example:
        >>> letter(0), letter(25), letter(26)
        ('a', 'z', 'aa')
    """
    before, last = divmod(index, 26)
    return (letter(before - 1) if before else "") + string.ascii_lowercase[last]


def _left_out(table: Table) -> str:
    """The sentence about figures that are not shown."""
    return (
        "Left out because nobody has checked them against their source: "
        f"{table.left_out} published (--unverified shows them)."
    )


def _block(kind: str, figures: list[Figure]) -> Block:
    titles = {_column(figure): figure for figure in figures}
    rows: dict[tuple[str, ...], list[dict[str, Figure]]] = {}
    for figure in figures:
        # Published figures of two sources are two rows: each row has the protocol of its source.
        source = figure.source if kind == "published" else ""
        same = rows.setdefault((*(getattr(figure, name) for name in HEADS[kind]), source), [])
        row = next((cells for cells in same if _column(figure) not in cells), None)
        if row is None:
            same.append(row := {})
        row[_column(figure)] = figure
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


def _images(count: int) -> str:
    return f"{count} {'image' if count == 1 else 'images'}"


def _rows(
    table: Table, block: Block
) -> Iterator[tuple[tuple[str, ...], list[tuple[str, str]], list[int]]]:
    """Per row its heads, its cells' texts with the letter of their note, its sources' numbers."""
    for row in block.rows:
        cells = []
        for title in block.columns:
            figure = row.cells.get(title)
            note = remark(figure) if figure else ""
            text = "" if figure is None else figure.text + " ?" * (not figure.verified)
            cells.append((text, letter(table.notes.index(note)) if note else ""))
        sources = dict.fromkeys(figure.source for figure in _cells(block, row))
        yield row.heads, cells, [table.sources.index(source) + 1 for source in sources]


def _metric(table: Table) -> str:
    return "mIoU" if table.metric == "miou" else table.metric


def _heading(table: Table, block: Block) -> str:
    return f"{HEADINGS[block.kind]}: {_metric(table)}"


def _measured(table: Table) -> bool:
    return any(block.kind == "measured" for block in table.blocks)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """A text in a Markdown table: on one line, without what Markdown would take for markup."""
    text = " ".join(text.split())
    for sign in "\\|*_`<":
        text = text.replace(sign, f"\\{sign}")
    return text


def _text(text: str) -> str:
    return _html.escape(text)
