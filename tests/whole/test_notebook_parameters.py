"""Every notebook checks its parameters in its second cell; one runs whole under papermill."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import pytest

from ovsslib.book.parameters import CHECKS, KINDS
from ovsslib.errors import OvssError
from support.helpers import ROOT

NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
FOLDERS = ["nowhere", "file"]
# Parameter -> values of the declared type or another, each wrong in every notebook that has it.
WRONG: dict[str, list[Any]] = {
    "vlm": ["no-such-model", "empty", "nowhere/model", "file", 3],
    "preset": ["no-such", 3],
    "method": ["no-such", ""],
    "methods": [[], ["no-such"], "maskclip", [3]],
    "clip": ["no-such", "empty", "nowhere/model", 3],
    "words_folder": [*FOLDERS, "empty"],
    "dtype": ["float8", 16],
    "device": ["no-such", "cuda:99", 0],
    "dataset": ["vok", "", 3],
    "data_root": [*FOLDERS, "empty", 3],
    "split": ["no-such", "", 3],
    "image_id": ["no-such", 3],
    "protocol": ["no-such", "", 3],
    "filter": ["no-such", "oracle:x", "recorded:nowhere.jsonl", "clip:no-such", ""],
    "class_filter": ["no-such", "recorded:nowhere.jsonl", "clip:no-such", "vlm:no-such", ""],
    "filter_settings": [{"x": 1}, "y", [1]],
    "config": [{"nope": 1}, "x", '{"layer": "a"}', {"threshold": math.nan}, {"background": "few"}],
    "ablation": ["no-such", ["oracle", "x"], 3],
    "dask": ["no-such", "tcp://host", 8786],
    "dask_slurm": ["nowhere", "empty"],
    "fresh": ["yes", 1],
    "unverified": ["yes", 1],
    "store": ["", "file", "file/below", 3],
    "out": ["", "file", "file/below", 3],
    "stored": FOLDERS,
    "trained": FOLDERS,
    "folder": [*FOLDERS, "empty"],
    "benchmarks": [*FOLDERS, "empty", "odd"],
    "results": [*FOLDERS, "empty"],
    "published": [*FOLDERS, "empty"],
    "metric": ["no-such", "", 3],
    "datasets": [["no-such"], "voc21", [3]],
    "protocols": [["no-such"], "pnp"],
    "models": [[], ["no-such"], "micro-blip", [3]],
    "grid_rounds": [[], [0], ["1"], 3],
    "grid_patches": [[], [-1], [0.5]],
    "sizes": [[], [0], ["a"]],
    "thresholds": [[], [2.0], [math.nan], ["x"], 0.1],
    "blurs": [[], [-0.1], [math.inf], ["x"]],
    "device_peak": [0.0, -1.0, math.nan, math.inf, "x"],
    "share": [0.0, 2.0, math.nan, "x"],
    "workers": [-1, 10**6, "2"],
    "refine_workers": [-1, 10**6, "2"],
    "allow_bad": [-1, "2"],
}
COUNT = [0, -1, "3", 1.5, True]


@cache
def cells(name: str) -> tuple[Any, ...]:
    """The first two code cells, compiled."""
    code = [c.source for c in nbformat.read(NOTEBOOKS[name], 4).cells if c.cell_type == "code"]
    return tuple(compile(source, f"{name} cell", "exec", dont_inherit=True) for source in code[:2])


@cache
def declared(name: str) -> tuple[str, ...]:
    namespace: dict[str, Any] = {}
    exec(cells(name)[0], namespace)
    return tuple(namespace["__annotations__"])


def start(name: str, **given: Any) -> None:
    """Run the first two code cells with papermill's between them."""
    matplotlib.use("agg")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(cells(name)[0], namespace)
    source = "# Parameters\n" + "".join(f"{key} = {value!r}\n" for key, value in given.items())
    namespace |= given | {"In": ["", source]}
    exec(cells(name)[1], namespace)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file, an empty folder and one of other JSON files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "other.json").write_text("[1]")
    return tmp_path


CASES = [(name, key) for name in NOTEBOOKS for key in declared(name)]


def test_each_parameter_is_known_to_the_checks() -> None:
    checked = {part for names in CHECKS for part in names.replace(" or ", ", ").split(", ")}
    assert {key for _, key in CASES} <= KINDS.keys() | WRONG.keys()
    # What is left is checked by what reads it, in the same cell.
    assert {key for _, key in CASES} - KINDS.keys() - checked == {
        "datasets", "filter_settings", "fresh", "metric", "protocols", "published", "results",
        "unverified",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "key"), CASES)
def test_a_wrong_value_is_one_line_in_the_second_cell(name: str, key: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    for value in WRONG.get(key, COUNT):
        with pytest.raises(OvssError) as error:
            start(name, **{key: value})
        assert "\n" not in str(error.value)
        assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_an_unknown_name_is_refused_and_the_nearest_named(name: str, folder: Path) -> None:
    key = declared(name)[0]
    with pytest.raises(OvssError, match=rf"parameter '{key}x'; did you mean '{key}'\?"):
        start(name, **{f"{key}x": "3"})


def papermill(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", "--log-level", "ERROR", "--no-progress-bar"]
    return subprocess.run(
        [*command, *map(str, words)],
        check=False,
        cwd=cwd,
        env=os.environ | {"OVSS_FIGURES": str(cwd / "figures"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_notebook_runs_from_another_folder_into_another(folder: Path) -> None:
    out = folder / "elsewhere" / "table.ipynb"
    out.parent.mkdir()
    done = papermill(NOTEBOOKS["10_table"], out, "-p", "unverified", "True", cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(
        cell.get("execution_count")
        for cell in nbformat.read(out, 4).cells
        if cell.cell_type == "code"
    )
    assert list((folder / "figures").glob("*.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "metrik", "miou"], "unknown notebook parameter 'metrik'; did you mean 'metric'?"),
        (["-p", "metric", "3"], "parameter 'metric' must be str, not 3 (int)"),
        (["-p", "datasets", "voc21"], "parameter 'datasets' must be list[str], not 'voc21' (str)"),
    ],
)
def test_a_mistake_ends_papermill(words: list[str], message: str, folder: Path) -> None:
    done = papermill(NOTEBOOKS["10_table"], "out.ipynb", *words, cwd=folder)
    assert done.returncode != 0
    assert f"OvssError: {message}" in done.stderr
    assert not (folder / "figures").exists()
