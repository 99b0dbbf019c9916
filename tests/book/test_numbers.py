"""A page's numbers as data."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ovsslib.book.numbers import PROVENANCE_KEY, as_csv, as_json, grids, numbers

GLUED = "application/papermill.record/text/plain"


def glued(name: str, text: str) -> object:
    return new_output("display_data", {GLUED: text}, metadata={"scrapbook": {"name": name}})


def test_values_tables_and_origin() -> None:
    index = pd.MultiIndex.from_tuples([("one", "a"), ("one", "b"), ("two", "a")])
    frame = pd.DataFrame({"mIoU": [1.5, 2.5, 3.5]}, index=index)
    shown = new_output("display_data", {"text/html": frame.to_html()})
    origin = new_output("display_data", {"text/html": "<table>"}, metadata={PROVENANCE_KEY: {}})
    outputs = [glued("miou", "0.5"), glued("best", "'cat'"), glued("none", "nan"), shown, origin]
    cell = new_code_cell("1", outputs=outputs, metadata={"tags": ["best"]})
    made = {"python": "3.11"}
    found = numbers(new_notebook(cells=[cell], metadata={PROVENANCE_KEY: made}))
    assert found["provenance"] == made
    assert found["values"] == {"miou": 0.5, "best": "cat", "none": None}
    (table,) = found["tables"]
    assert table["cell"] == "best"
    # a label that pandas writes once for two rows belongs to both
    assert table["rows"][1:] == [["one", "a", "1.5"], ["one", "b", "2.5"], ["two", "a", "3.5"]]
    assert json.loads(as_json(found)) == found
    lines = list(csv.reader(io.StringIO(as_csv(found))))
    assert lines[1] == ["value", "miou", "", "", "0.5"]
    assert ["table", "1 best", "3", "2", "3.5"] in lines


def test_spans_that_cross() -> None:
    html = (
        "<table><tr><th rowspan=2>a</th><td colspan=2>b</td></tr><tr><td>c</td><td>d</td></tr>"
        "</table><table></table>"
    )
    assert grids(html) == [[["a", "b", "b"], ["a", "c", "d"]], []]
