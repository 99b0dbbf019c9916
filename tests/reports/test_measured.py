"""Measured figures: from real and written results files; what is damaged is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate import result as results
from ovsslib.methods import records
from ovsslib.reports.measured import default_folder, load_measured
from support.results import STORED, make_result, store


def test_stored_results() -> None:
    figures = load_measured([STORED])
    assert len(figures) == len(list(STORED.glob("*.json")))
    for figure in figures:
        record = json.loads((STORED / figure.source.split(",")[0].split("/")[1]).read_text())
        assert figure.kind == "measured"
        assert figure.value == pytest.approx(100 * record["metrics"]["miou"]["value"])
        assert figure.low <= figure.value <= figure.high
        assert figure.text == f"{figure.value:.1f} [{figure.low:.1f}, {figure.high:.1f}]"
        assert (figure.images, figure.failed, figure.allowed_bad) == (record["images"], 0, 0)
        assert figure.settings == record["config_hash"]
        assert figure.supervision == records()[record["method"]].supervision
        assert figure.date == record["provenance"]["time"][:10]
        assert str(STORED.parent) not in figure.source


def test_a_class_has_a_value_and_no_interval() -> None:
    figure = load_measured([STORED], "iou/car")[0]
    assert math.isnan(figure.low)
    assert "[" not in figure.text
    figure = load_measured([STORED], "pixel_accuracy")[0]
    assert figure.text == f"{figure.value:.1f}"


def test_bad_images_limit_and_settings_of_the_filter(tmp_path: Path) -> None:
    store(tmp_path, failed={"x": "cut", "y": "cut"}, allowed_bad=3, limit=7)
    store(tmp_path, filter="vlm", filter_settings={"threshold": 0.5, "at": 1}, dataset="voc")
    bad, filtered = load_measured([tmp_path])
    assert (bad.images, bad.failed, bad.allowed_bad, bad.limit) == (5, 2, 3, 7)
    assert (filtered.filter, filtered.dataset) == ("vlm (at=1, threshold=0.5)", "voc21")
    assert bad.dataset == "toy"


def test_the_supervision_of_a_method_of_somebody_else_is_not_known(tmp_path: Path) -> None:
    store(tmp_path, method="mine")
    store(tmp_path, method="sam3", dataset="voc21")
    found = {figure.system: figure.supervision for figure in load_measured([tmp_path])}
    assert found == {"mine": "", "sam3": "masks"}


def test_a_run_without_the_figure_and_an_undefined_one(tmp_path: Path) -> None:
    results.save(make_result(), tmp_path)
    results.save(replace(make_result(), things=frozenset({1, 2, 3}), dataset="b"), tmp_path)
    lacking, having = load_measured([tmp_path], "miou_stuff")
    assert math.isnan(lacking.value)
    assert (lacking.text, lacking.note) == ("–", "this run has no such figure")
    assert having.value == 0
    undefined = load_measured([tmp_path], "recall/sky")[0]
    assert (undefined.text, undefined.note[:11]) == ("–", "not defined")
    with pytest.raises(OvssError, match=r"no figure is called 'mIoU'; there are miou"):
        load_measured([tmp_path], "mIoU")


def test_a_folder_given_twice_counts_once_and_a_file_will_do(tmp_path: Path) -> None:
    path = store(tmp_path)
    assert len(load_measured([tmp_path, str(tmp_path), path])) == 1


def test_other_records_of_this_library_are_passed_over(tmp_path: Path) -> None:
    store(tmp_path)
    (tmp_path / "d.json").write_text((STORED / "deviations").glob("*.json").__next__().read_text())
    bench = STORED.parent / "benchmarks" / "refine.json"
    (tmp_path / "e.json").write_text(bench.read_text())
    assert len(load_measured([tmp_path])) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"metrics": {}}',
        '{"metrics": {"miou": {"value": 0.5}}}',
        '{"metrics": {"miou": 0.5}}',
        '{"metrics": 3}',
        '{"metrics": {"miou": {"value": "x", "low": 0, "high": 1}}}',
        "\xff",
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    store(tmp_path)
    (tmp_path / "zz.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(OvssError, match=r"zz\.json is not a results file of `ovss run` \(.+\);"):
        load_measured([tmp_path])


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": {}},
        {"images": "many"},
        {"failed": None},
        {"provenance": None},
        {"metrics": {"miou": {"value": 55.0, "low": 0.1, "high": 0.2}}},
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict) -> None:
    store(tmp_path, **change)
    with pytest.raises(OvssError, match="is not a results file of `ovss run`"):
        load_measured([tmp_path])


def test_no_folder_no_run(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="no such folder"):
        load_measured([tmp_path / "gone"])
    with pytest.raises(OvssError, match=r"no results there; store them with `ovss run --out"):
        load_measured([tmp_path])


def test_where_results_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVSS_RESULTS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert default_folder() == STORED
    (tmp_path / "ovss-results").mkdir()
    assert default_folder() == Path("ovss-results")
    monkeypatch.setenv("OVSS_RESULTS", str(tmp_path))
    assert default_folder() == tmp_path
