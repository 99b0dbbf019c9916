"""Helpers of the notebooks, with the real IPython display machinery, and their parameters."""

from __future__ import annotations

import dataclasses
import json
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.utils.capture import capture_output
from PIL import Image

from ovsslib.book import notebook
from ovsslib.book.notebook import bench_records, need, parameters
from ovsslib.errors import OvssError
from support.html_page import Page


@pytest.fixture
def shell(monkeypatch):
    """An IPython shell, as in a kernel: without one, `display` only prints."""
    from IPython.core.interactiveshell import InteractiveShell

    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def drawing():
    fig, axis = plt.subplots(figsize=(2, 1))
    axis.plot([0, 1])
    return fig


def test_progress_gives_every_item_and_is_silent_in_the_book(monkeypatch, capsys):
    monkeypatch.setenv(notebook.QUIET, "1")
    assert list(notebook.progress(range(3), "images")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.delenv(notebook.QUIET)
    assert list(notebook.progress(range(3), "images")) == [0, 1, 2]
    assert "images" in capsys.readouterr().err


def heat_map():
    fig, axis = plt.subplots(figsize=(2, 1))
    axis.imshow(np.eye(3))
    return fig


def grid():
    fig, axis = plt.subplots(figsize=(2, 1))
    axis.pcolormesh(np.eye(3))
    return fig


def test_charts_are_vectors_and_the_same_every_time(shell, monkeypatch, tmp_path):
    monkeypatch.setenv(notebook.FIGURES, str(tmp_path))
    texts = []
    for _ in range(2):
        with capture_output() as shown:
            notebook.figure(drawing(), "rise", alt="A line that rises")
        texts.append(shown.outputs[0].data["image/svg+xml"])
    assert texts[0].startswith("<svg")
    assert texts[0] == texts[1]


@pytest.mark.parametrize("draw", [heat_map, grid])
def test_a_figure_is_shown_saved_and_described(shell, tmp_path, monkeypatch, draw):
    monkeypatch.setenv(notebook.FIGURES, str(tmp_path / "images"))
    fig = draw()
    with capture_output() as shown:
        notebook.figure(fig, "rise", alt="A line\nthat rises", caption="A *line*.")
    with Image.open(tmp_path / "images" / "rise.png") as image:
        assert image.mode == "P"  # a third of the bytes of all colours
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    (output,) = shown.outputs
    assert "image/png" in output.data
    assert output.metadata[notebook.FIGURE_KEY] == {
        "name": "fig-rise",
        "alt": "A line that rises",
        "caption": "A *line*.",
    }
    assert not plt.fignum_exists(fig.number)


def test_a_figure_without_text_is_refused():
    with pytest.raises(OvssError, match="'rise' has no alternative text"):
        notebook.figure(drawing(), "rise", alt="  ")
    plt.close("all")


def test_glue_keeps_plain_numbers(shell):
    with capture_output() as kept:
        notebook.glue("miou", np.float64(0.5))
    (output,) = kept.outputs
    assert output.metadata["scrapbook"]["name"] == "miou"
    assert output.data["application/papermill.record/text/plain"] == "0.5"


def test_provenance_is_shown_and_written(shell, tmp_path):
    with capture_output() as shown:
        notebook.provenance(tmp_path / "made.json", device="cpu", config={"text": "x" * 99})
    text = shown.outputs[0].data["text/html"]
    record = json.loads((tmp_path / "made.json").read_text())
    assert record["config"] == {"text": "x" * 99}
    assert record["device"].startswith("cpu")
    (table,) = Page(text).tables
    assert table[0] == ["", "made with"]
    assert ["config", json.dumps(record["config"])] in table
    assert ["time", record["time"]] in table
    assert str(tmp_path) not in text


DECLARED = {"vlm": str, "limit": int | None, "kind": Literal["oracle", "all"]}


def cells(injected: str = "", **values: object) -> dict[str, object]:
    """A kernel's globals after the parameters cell and, perhaps, papermill's."""
    return {
        "__annotations__": DECLARED,
        "In": ["", 'vlm: str = "micro-blip"', *([injected] if injected else [])],
        "an_import": pytest,
        **{"vlm": "micro-blip", "limit": None, "kind": "oracle", **values},
    }


def test_defaults_are_frozen():
    params = parameters(cells())
    assert (params.vlm, params.limit, params.kind) == ("micro-blip", None, "oracle")
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.vlm = "other"


def test_a_passed_value_is_taken():
    assert parameters(cells("# Parameters\nlimit = 3\n", limit=3)).limit == 3


def test_an_unknown_name_is_refused_and_the_nearest_named():
    with pytest.raises(
        OvssError, match=r"unknown notebook parameter 'limmit'; did you mean 'limit'\?"
    ):
        parameters(cells("# Parameters\nlimmit = 3\n", limmit=3))


def test_variables_of_later_cells_are_no_parameters():
    # the cell is run again in JupyterLab after the others
    assert parameters(cells(result=1.0, rows=[1])).vlm == "micro-blip"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("limit", "3", "int | None"),
        ("limit", True, "int | None"),
        ("vlm", 3, "str"),
        ("kind", "al", "Literal"),
    ],
)
def test_a_wrong_type_is_refused(name, value, wanted):
    with pytest.raises(OvssError, match=f"parameter '{name}' must be .*{wanted.split('|')[0]}"):
        parameters(cells(**{name: value}))


def test_a_missing_value_and_a_missing_cell_are_refused():
    with pytest.raises(OvssError, match="has no value"):
        parameters({"__annotations__": {"vlm": str}, "In": []})
    with pytest.raises(OvssError, match="declares no parameters"):
        parameters({"In": [], "vlm": "x"})


def test_values_come_in_one_form():
    kinds = {"folder": str | None, "words": str | list[str], "settings": str | dict[str, object]}
    given = {"folder": "", "words": "oracle,all", "settings": '{"rounds": 2}'}
    params = parameters({"__annotations__": kinds, "In": [], **given})
    assert (params.folder, params.words, params.settings) == (
        None,
        ["oracle", "all"],
        {"rounds": 2},
    )


def test_ranges_are_checked():
    with pytest.raises(OvssError, match="parameter limit must be int >= 1, got 0"):
        parameters(cells(limit=0))


def record(folder, name, kind):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"kind": f"bench-{kind}", "name": name}))


def test_records_are_read_by_kind(tmp_path):
    for name, kind in (("b", "salience"), ("a", "salience"), ("c", "dask")):
        record(tmp_path, name, kind)
    kinds = bench_records(str(tmp_path), "dask", "salience")
    assert [each["name"] for each in kinds["salience"]] == ["a", "b"]
    with pytest.raises(OvssError, match="there is no record of `ovss bench refine` in "):
        bench_records(str(tmp_path), "refine")


@pytest.mark.parametrize("text", ["[]", "3", "{", "{}", '{"kind": 1}'])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(OvssError, match=r"odd\.json: is no record of ovss bench"):
        bench_records(str(tmp_path))


def test_what_is_needed_is_there_or_named():
    assert need([1], "record") == [1]
    with pytest.raises(OvssError, match="there is no record; make it first"):
        need([], "record")
