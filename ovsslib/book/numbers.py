"""The numbers of an executed notebook as data: glued values, tables, their origin."""

from __future__ import annotations

import ast
import csv
import io
import json
from typing import Any

PROVENANCE_KEY = "ovss-provenance"
"""The key in an output's metadata, and in an executed notebook's, of what `provenance` gathered."""
_GLUED = "application/papermill.record/text/plain"


def numbers(notebook: Any) -> dict[str, Any]:
    """What a page states, for those who calculate with it.

    Args:
        notebook: An executed notebook (nbformat 4) as `ovsslib.book.run.tidy` leaves it.

    Returns:
        `provenance` (see `ovsslib.book.notebook.provenance`), `values` (name -> number or text of
        every glued value) and `tables` (`cell` that shows it, `rows` of cells as text; headings
        that span several columns are repeated).
    """
    values: dict[str, Any] = {}
    tables = []
    for cell in notebook.cells:
        tag = next(iter(cell.metadata.get("tags", [])), "")
        for output in cell.get("outputs", []):
            kept, data = output.get("metadata", {}), output.get("data", {})
            if _GLUED in data:
                values[kept["scrapbook"]["name"]] = _value(data[_GLUED])
            elif "text/html" in data and PROVENANCE_KEY not in kept:
                tables += [{"cell": tag, "rows": rows} for rows in grids(data["text/html"])]
    made = notebook.metadata.get(PROVENANCE_KEY, {})
    return {"provenance": made, "values": values, "tables": tables}


def grids(html: str) -> list[list[list[str]]]:
    """The tables of a piece of HTML, cells that span several places repeated in each.

    Example:
        >>> grids("<table><tr><th colspan=2>a</th></tr><tr><td>1</td><td>2</td></tr></table>")
        [[['a', 'a'], ['1', '2']]]
    """
    from bs4 import BeautifulSoup

    found = []
    for table in BeautifulSoup(html, "html.parser").find_all("table"):
        grid: dict[tuple[int, int], str] = {}
        lines = table.find_all("tr")
        for y, line in enumerate(lines):
            x = 0
            for cell in line.find_all(["th", "td"]):
                while (y, x) in grid:
                    x += 1
                wide, high = (int(str(cell.get(f"{way}span") or 1)) for way in ("col", "row"))
                text = cell.get_text(" ", strip=True)
                grid |= {(y + j, x + i): text for j in range(high) for i in range(wide)}
                x += wide
        width = 1 + max((x for _, x in grid), default=-1)
        found.append([[grid.get((y, x), "") for x in range(width)] for y in range(len(lines))])
    return found


def as_json(found: dict[str, Any]) -> str:
    """The numbers as a JSON text."""
    return json.dumps(found, indent=1, ensure_ascii=False, default=str) + "\n"


def as_csv(found: dict[str, Any]) -> str:
    r"""The numbers as one table: values first, then every cell of every table.

    Columns: `kind` (`value` or `table`), `name` (of the value, or of the cell of the notebook that
    shows the table, with its number on the page), `row`, `column` (from 0) and `content`.

    Example:
        >>> table = {"cell": "best", "rows": [["a"], ["1"]]}
        >>> as_csv({"values": {"miou": 0.5}, "tables": [table]}).splitlines()
        ['kind,name,row,column,content', 'value,miou,,,0.5',
         'table,1 best,0,0,a', 'table,1 best,1,0,1']
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["kind", "name", "row", "column", "content"])
    for name, value in found["values"].items():
        writer.writerow(["value", name, "", "", value])
    for number, table in enumerate(found["tables"], 1):
        for y, row in enumerate(table["rows"]):
            for x, text in enumerate(row):
                writer.writerow(["table", f"{number} {table['cell']}".strip(), y, x, text])
    return out.getvalue()


def _value(text: str) -> Any:
    """A glued value read back; None where it is no number (nan)."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
