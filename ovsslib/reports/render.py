"""A table of `ovsslib.reports.table` as Markdown and as HTML."""

from __future__ import annotations

import html as _html
import string

from ovsslib.reports.published import Figure
from ovsslib.reports.table import HEADS, Block, Row, Table, remark

HEADINGS = {"measured": "Measured with this library", "published": "Published figures"}
EXPLAINED = (
    "Per cent. Measured: value [95 % bootstrap interval over images]. Published: as printed in "
    "the source. Figures under different protocols, class filters or data sets cannot be compared."
)
NOTHING = "Measured with this library: nothing that fits."
_STYLE = """
body { font-family: sans-serif; margin: 1.5rem; }
table { border-collapse: collapse; margin: 1.5rem 0; }
caption { text-align: left; font-weight: bold; padding: 0.3rem 0; }
th, td { border: 1px solid #999; padding: 0.2rem 0.5rem; text-align: left; }
td.figure { text-align: right; white-space: nowrap; }
"""


def markdown(table: Table) -> str:
    """The table as Markdown: a heading and a table for each block, notes and sources below.

    Args:
        table: What `ovsslib.reports.table.build` made.

    Returns:
        Text that ends with a line feed.
    """
    lines = [EXPLAINED, ""]
    lines += [] if _measured(table) else [NOTHING, ""]
    for block in table.blocks:
        lines += [f"## {_heading(table, block)}", ""]
        heads = list(HEADS[block.kind].values())
        lines += [_line([*heads, *block.columns, "source"])]
        lines += [_line([":--"] * len(heads) + ["--:"] * len(block.columns) + [":--"])]
        for row in block.rows:
            cells = [_cell(table, row.cells.get(title)) for title in block.columns]
            numbers = ", ".join(map(str, _sources(table, block, row)))
            lines.append(_line([*map(_plain, row.heads), *cells, f"\\[{numbers}\\]"]))
        lines.append("")
    if table.notes:
        lines += ["Notes:", ""]
        lines += [f"- ({letter(n)}) {_plain(note)}" for n, note in enumerate(table.notes)] + [""]
    lines += ["Sources:", ""]
    lines += [f"{n}. {_plain(source)}" for n, source in enumerate(table.sources, start=1)]
    if table.left_out:
        lines += ["", left_out(table)]
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
        for row in block.rows:
            lines.append(f"<tr>{_html_row(table, block, row)}</tr>")
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
        lines.append(f"<p>{_text(left_out(table))}</p>")
    body = "\n".join(lines)
    if not whole:
        return f"{body}\n"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Results ({_text(_metric(table))})</title>\n<style>{_STYLE}</style>\n</head>\n"
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


def left_out(table: Table) -> str:
    """The sentence about figures that are not shown."""
    return (
        "Left out because nobody has checked them against their source: "
        f"{table.left_out} published (--unverified shows them)."
    )


def _html_row(table: Table, block: Block, row: Row) -> str:
    first, *others = row.heads
    cells = [f'<th scope="row">{_text(first)}</th>', *(f"<td>{_text(o)}</td>" for o in others)]
    for title in block.columns:
        figure = row.cells.get(title)
        text = _text(_shown(figure)) if figure else ""
        if figure and (note := remark(figure)):
            mark = letter(table.notes.index(note))
            text += f' <sup><a href="#table-note-{mark}">{mark}</a></sup>'
        cells.append(f'<td class="figure">{text}</td>')
    links = (f'<a href="#table-source-{n}">{n}</a>' for n in _sources(table, block, row))
    return "".join([*cells, f"<td>{', '.join(links)}</td>"])


def _sources(table: Table, block: Block, row: Row) -> list[int]:
    """Numbers of a row's sources, in the order of the columns."""
    found = [row.cells[title].source for title in block.columns if title in row.cells]
    return [table.sources.index(source) + 1 for source in dict.fromkeys(found)]


def _cell(table: Table, figure: Figure | None) -> str:
    if figure is None:
        return ""
    note = remark(figure)
    mark = f" ({letter(table.notes.index(note))})" if note else ""
    return _plain(_shown(figure)) + mark


def _shown(figure: Figure) -> str:
    return figure.text if figure.verified else f"{figure.text} ?"


def _heading(table: Table, block: Block) -> str:
    return f"{HEADINGS[block.kind]}: {_metric(table)}"


def _measured(table: Table) -> bool:
    return any(block.kind == "measured" for block in table.blocks)


def _metric(table: Table) -> str:
    return "mIoU" if table.metric == "miou" else table.metric


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
