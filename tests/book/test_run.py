"""Notebooks through the real papermill: parameters, failures, tidying."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ovsslib.book.notebook import FIGURE_KEY
from ovsslib.book.run import check_parameters, execute, select, tidy
from ovsslib.errors import OvssError
from support.notebooks import write_notebook


def test_select(tmp_path):
    paths = [write_notebook(tmp_path / f"{name}.ipynb") for name in ("01_a", "02_b", "03_c")]
    assert select(tmp_path) == paths
    assert select(tmp_path, ["03", "01"]) == [paths[0], paths[2]]
    with pytest.raises(OvssError, match=r"no notebook '04'.* available: 01_a, 02_b, 03_c"):
        select(tmp_path, ["04"])


def test_unknown_parameters_are_refused_before_anything_runs(tmp_path):
    path = write_notebook(tmp_path / "01_a.ipynb")
    check_parameters(path, {"limit": 1, "folder": "x"})
    with pytest.raises(OvssError, match=r"unknown notebook 01_a parameter 'limt'; .*'limit'"):
        execute([path], tmp_path / "out", {"limt": 1}, figures=tmp_path / "figures")
    assert not (tmp_path / "out").exists()


def test_a_notebook_without_the_cell_is_refused(tmp_path):
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "01_a.ipynb")
    with pytest.raises(OvssError, match="exactly one cell tagged 'parameters'"):
        check_parameters(tmp_path / "01_a.ipynb", {})


def test_all_run_and_the_failing_cell_is_named(tmp_path):
    good = write_notebook(tmp_path / "01_good.ipynb", "params.limit * 21")
    bad = write_notebook(tmp_path / "02_bad.ipynb", "1 + 1", "raise ValueError('no such cat')")
    said: list[str] = []
    out = tmp_path / "out"
    with pytest.raises(OvssError, match=r"^notebook 02_bad failed in cell \[5\]: ValueError: no"):
        execute([good, bad], out, {"limit": 3}, figures=tmp_path / "figures", say=said.append)
    assert len(said) == 2
    assert [line.endswith("failed") for line in sorted(said)] == [False, True]
    done = nbformat.read(out / "01_good.ipynb", as_version=4)
    assert done.cells[-1].outputs[0].data["text/plain"] == "63"
    tags = [cell.metadata.get("tags", []) for cell in done.cells]
    assert tags[1] == ["parameters", "remove-cell"]
    assert tags[2] == ["hide-input", "injected-parameters"]


def test_what_a_notebook_puts_out_holds_no_key(tmp_path, monkeypatch):
    key = "no-known-form-0123"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    read = "import os\nkey = os.environ['OPENAI_API_KEY']"
    good = write_notebook(tmp_path / "01_good.ipynb", read, "print(key)\nkey")
    bad = write_notebook(tmp_path / "02_bad.ipynb", read, "raise ValueError(f'refused: {key}')")
    out = tmp_path / "out"
    with pytest.raises(OvssError, match=r"ValueError: refused: \[key\] \(traceback in") as error:
        execute([good, bad], out, {}, figures=tmp_path / "figures")
    assert key not in str(error.value)
    for path in (out / good.name, out / bad.name):
        text = path.read_text()
        assert "[key]" in text
        assert key not in text
    nbformat.validate(nbformat.read(out / bad.name, as_version=4))


def test_a_mistyped_value_fails_in_the_notebook_itself(tmp_path):
    path = write_notebook(tmp_path / "01_a.ipynb")
    with pytest.raises(OvssError, match="parameter 'limit' must be int, not 'many'"):
        execute([path], tmp_path / "out", {"limit": "many"}, figures=tmp_path / "figures")


def shown(*metadata: dict[str, object]):
    outputs = [
        new_output("display_data", {"image/png": "AAAA"}, metadata=dict(one)) for one in metadata
    ]
    return new_notebook(cells=[new_code_cell("draw()", outputs=outputs, execution_count=1)])


def test_tidy_moves_the_texts_and_leaves_its_argument():
    texts = {"name": "fig-a", "alt": "A cat", "caption": "A cat."}
    source = shown({FIGURE_KEY: texts})
    cell = tidy(source, "01_a").cells[0]
    assert cell.metadata["mystnb"] == {
        "image": {"alt": "A cat"},
        "figure": {"caption": "A cat.", "name": "fig-a"},
    }
    assert FIGURE_KEY not in cell.outputs[0].metadata
    assert FIGURE_KEY in source.cells[0].outputs[0].metadata


def test_tidy_refuses_pictures_without_text_and_two_figures():
    with pytest.raises(OvssError, match=r"01_a, cell \[1\] shows an image without alternative"):
        tidy(shown({}), "01_a")
    texts = {"name": "fig-a", "alt": "A cat", "caption": None}
    with pytest.raises(OvssError, match="shows 2 figures"):
        tidy(shown({FIGURE_KEY: texts}, {FIGURE_KEY: texts}), "01_a")
