"""Drift is seen, tolerances hold at their edge, and a wrong file says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate import regress
from ovsslib.evaluate.result import figures
from support.results import make_result

FIGURES = figures(make_result())
GOOD = '{"value": 0.5, "tolerance": 0.1}'
BOUND = '{"runs": [{"name": "a", "vlm": "t", "expect": {"miou": %s}}]}'


def write(path: Path, *, value: float | None, tolerance: float = 0.01, **extra: object) -> Path:
    run = {"name": "a", "vlm": "tiny", "config": {"crf": False}, "limit": 5, **extra}
    run["expect"] = {"miou": {"value": value, "tolerance": tolerance}}
    path.write_text(json.dumps({"schema": 1, "runs": [run]}))
    return path


@pytest.mark.parametrize(("off", "ok"), [(0.0, True), (0.01, True), (-0.01, True), (0.0101, False)])
def test_tolerance(tmp_path: Path, off: float, ok: bool) -> None:
    value = FIGURES["miou"]["value"]
    runs = regress.read_expected(write(tmp_path / "e.json", value=value + off))
    report = regress.check(runs, lambda run: make_result())
    assert report.ok is ok
    assert ("DRIFT" in regress.table(report)) is not ok


def test_unset_values_and_failed_pictures_are_not_ok(tmp_path: Path) -> None:
    runs = regress.read_expected(write(tmp_path / "e.json", value=None))
    assert not regress.check(runs, lambda run: make_result()).ok
    runs = regress.read_expected(write(tmp_path / "e.json", value=FIGURES["miou"]["value"]))
    broken = replace(make_result(), failed={"p9": "no such file"})
    assert not regress.check(runs, lambda run: broken).ok


def test_update_fills_values_and_keeps_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "e.json", value=None, tolerance=0.004)
    before = json.loads(path.read_text())
    runs = regress.read_expected(path)
    regress.update(path, regress.check(runs, lambda run: make_result()))
    after = json.loads(path.read_text())
    filled = after["runs"][0]["expect"]["miou"]
    assert filled == {
        "value": pytest.approx(FIGURES["miou"]["value"], abs=1e-6),
        "tolerance": 0.004,
    }
    filled["value"] = None
    assert after == before
    assert regress.check(runs, lambda run: make_result()).checks[0].measured is not None


def test_update_refuses_what_was_not_measured(tmp_path: Path) -> None:
    path = write(tmp_path / "e.json", value=0.5)
    before = path.read_text()
    broken = replace(make_result(), failed={"p9": "no such file"})
    report = regress.check(regress.read_expected(path), lambda run: broken)
    with pytest.raises(OvssError, match="not updated, because of p9"):
        regress.update(path, report)
    assert path.read_text() == before


def test_defaults_and_overrides(tmp_path: Path) -> None:
    (run,) = regress.read_expected(write(tmp_path / "e.json", value=0.5, filter="all"))
    assert run.run.filter == "all"
    assert run.run.protocol == "pnp-fixed"
    assert run.run.config == {"crf": False}
    assert run.expect == {"miou": (0.5, 0.01)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a file of expected figures"),
        ("[]", "not a file of expected figures"),
        ('{"runs": []}', "holds no run"),
        ('{"runs": [{"name": "a"}]}', "lacks vlm, expect"),
        ('{"runs": [{"name": "a", "vlm": "t", "expect": {}}]}', "expects no figure"),
        (BOUND.replace("vlm", "vml") % "{}", "lacks vlm"),
        (BOUND.replace('"t"', '"t", "fliter": "all"') % GOOD, "did you mean 'filter'"),
        (BOUND.replace('"t"', '"t", "limit": 0') % GOOD, "limit must be int >= 1 or None, got 0"),
        (BOUND % '{"value": 1, "tolerance": -1}', "tolerance of at least 0"),
        (BOUND % '{"value": NaN, "tolerance": 1}', "needs a value"),
        (BOUND % '{"value": 1}', "not a file of expected figures"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "e.json"
    path.write_text(text)
    with pytest.raises(OvssError, match=words) as caught:
        regress.read_expected(path)
    assert str(path) in str(caught.value)


def test_two_runs_of_one_name(tmp_path: Path) -> None:
    path = write(tmp_path / "e.json", value=0.5)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({"runs": record["runs"] * 2}))
    with pytest.raises(OvssError, match="two of one name"):
        regress.read_expected(path)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="no file of expected figures"):
        regress.read_expected(tmp_path / "gone.json")


def test_unknown_figure_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "e.json", value=0.5)
    path.write_text(path.read_text().replace('"miou"', '"mIou"'))
    with pytest.raises(OvssError, match="no figure is called 'mIou'"):
        regress.check(regress.read_expected(path), lambda run: make_result())


def test_a_mark_at_the_start_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "e.json", value=None)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert [run.name for run in regress.read_expected(path)] == ["a"]
    regress.update(path, regress.check(regress.read_expected(path), lambda run: make_result()))
