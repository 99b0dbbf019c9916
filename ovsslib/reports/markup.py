"""A table of `ovsslib.reports.table` as Markdown and as HTML, with its terms, notes and sources."""

from __future__ import annotations

import html as _html
import string
from collections.abc import Iterator

from ovsslib.methods import SUPERVISION
from ovsslib.reports.published import FILTERS, TIERS
from ovsslib.reports.table import HEADS, Block, Row, Table, cells, remark, source

HEADINGS = {"measured": "Measured with this library", "published": "Published figures"}
EXPLAINED = (
    "Per cent. Measured: value [95 % bootstrap interval over images]. Published: as printed in "
    "the source. Figures can be compared only where data set, protocol, class filter and "
    'supervision are the same. "2 of 7" is the place of a figure among those for which they are; '
    "measured and published figures have places of their own. A figure without a place has none to "
    "be compared with, or its protocol is not described."
)
NOTHING = "Measured with this library: nothing that matches."
FILTER_TERMS = FILTERS | {
    "clip": "a CLIP first decides which classes are in the image",
    "recorded": "answers from a file say which classes are in the image",
    "vlm": "the matching model first decides which classes are in the image",
}
"""Class filter -> what it means."""
STYLE = """
body { font-family: sans-serif; margin: 1.5rem; }
table { border-collapse: collapse; margin: 1.5rem 0; }
caption { text-align: left; font-weight: bold; padding: 0.3rem 0; }
th, td { border: 1px solid #999; padding: 0.2rem 0.5rem; text-align: left; }
"""
CELL = "text-align: right; white-space: nowrap; padding: 0 0.5rem"
"""Style of a cell with a figure, also where the table is part of another page."""


def markdown(table: Table) -> str:
    """The table as Markdown: a heading and a table for each block, then terms, notes and sources.

    Args:
        table: What `ovsslib.reports.table.build` made.

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
        for row in block.rows:
            shown = [
                f"{_plain(text)} ({note})" if note else _plain(text)
                for text, note in _texts(table, block, row)
            ]
            numbers = ", ".join(map(str, _sources(table, block, row)))
            lines.append(_line([*map(_plain, row.heads), *shown, f"\\[{numbers}\\]"]))
        lines.append("")
    lines += ["Terms:", ""]
    lines += [f"- {_plain(name)}: {_plain(meaning)}" for name, meaning in terms(table)] + [""]
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
        table: What `ovsslib.reports.table.build` made.
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
        lines += [_html_row(table, block, row) for row in block.rows]
        lines += ["</tbody>", "</table>"]
    lines += ["<p>Terms:</p>", "<ul>"]
    lines += [f"<li>{_text(name)}: {_text(meaning)}</li>" for name, meaning in terms(table)]
    lines.append("</ul>")
    if table.notes:
        lines += ["<p>Notes:</p>", "<ul>"]
        for n, note in enumerate(table.notes):
            lines.append(f'<li id="table-note-{letter(n)}">({letter(n)}) {_text(note)}</li>')
        lines.append("</ul>")
    lines += ["<p>Sources:</p>", "<ol>"]
    for n, where in enumerate(table.sources, start=1):
        lines.append(f'<li id="table-source-{n}">{_text(where)}</li>')
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


def terms(table: Table) -> list[tuple[str, str]]:
    """The words in the columns of supervision, class filter and tier that occur, explained.

    Args:
        table: What `ovsslib.reports.table.build` made.

    Returns:
        Word and meaning.
    """
    figures = [f for block in table.blocks for row in block.rows for f in row.figures]
    found = []
    for column, used, known in (
        ("supervision", {f.supervision for f in figures}, SUPERVISION),
        ("class filter", {_plain_filter(f.filter) for f in figures}, FILTER_TERMS),
        ("tier", {f.tier for f in figures}, TIERS),
    ):
        found += [(f"{column} {name}", known[name]) for name in known if name in used]
    return found


def letter(index: int) -> str:
    """The letters of a note, counted from 0.

    Example:
        >>> letter(0), letter(25), letter(26)
        ('a', 'z', 'aa')
    """
    before, last = divmod(index, 26)
    return (letter(before - 1) if before else "") + string.ascii_lowercase[last]


def _plain_filter(name: str) -> str:
    """A class filter without its settings and its model."""
    return name.partition(" (")[0].partition(":")[0]


def _html_row(table: Table, block: Block, row: Row) -> str:
    first, *others = row.heads
    parts = [f'<th scope="row">{_text(first)}</th>', *(f"<td>{_text(o)}</td>" for o in others)]
    for text, note in _texts(table, block, row):
        link = f' <sup><a href="#table-note-{note}">{note}</a></sup>' if note else ""
        parts.append(f'<td style="{CELL}">{_text(text)}{link}</td>')
    links = (f'<a href="#table-source-{n}">{n}</a>' for n in _sources(table, block, row))
    return f"<tr>{''.join(parts)}<td>{', '.join(links)}</td></tr>"


def _texts(table: Table, block: Block, row: Row) -> Iterator[tuple[str, str]]:
    """Per column the figure with its place, and the letter of its note."""
    for title in block.columns:
        figure = row.cells.get(title)
        if figure is None:
            yield "", ""
            continue
        place = (
            "{}, {} of {}".format(figure.text, *row.places[title]) if title in row.places else ""
        )
        note = remark(figure)
        text = place or figure.text + " ?" * (not figure.verified)
        yield text, letter(table.notes.index(note)) if note else ""


def _sources(table: Table, block: Block, row: Row) -> list[int]:
    """The numbers of a row's sources."""
    found = dict.fromkeys(source(figure) for figure in cells(block, row))
    return [table.sources.index(where) + 1 for where in found]


def _left_out(table: Table) -> str:
    """The sentence about figures that are not shown."""
    return (
        "Left out because nobody has checked them against their source: "
        f"{table.left_out} published (--unverified shows them)."
    )


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
