"""`ovss table` through the real command."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from support.helpers import one_error, ovss
from support.html_page import Page
from support.results import STORED, store, stored


def table(*arguments: object) -> object:
    return ovss("table", *arguments)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without results of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("OVSS_RESULTS", raising=False)


def test_without_arguments_the_shipped_results_and_all_published() -> None:
    done = table()
    assert done.exit_code == 0, done.output
    assert "| pnp-ovss | micro-blip |" in done.stdout
    assert "| PnP-OVSS |" in done.stdout
    assert done.stdout.count("\n## ") == 2


def test_places_stay_within_supervision_filter_and_kind() -> None:
    frame = pd.read_csv(io.StringIO(table("--format", "csv").stdout))
    ranked = frame[frame["place"].notna()]
    rules = ["kind", "dataset", "protocol", "supervision", "filter"]
    for _, group in ranked.groupby(rules):
        assert (group["among"] == len(group)).all()
        best = group.loc[group["place"].idxmin()]
        assert best["value"] == group["value"].max()
    assert len(ranked) > 100


def test_help_has_examples() -> None:
    assert "  ovss table my-results" in table("--help").output


def test_no_published() -> None:
    done = table(STORED, "--no-published")
    assert "Published figures" not in done.stdout
    assert "poster" not in done.stdout


def test_bad_images_limit_and_two_settings_show(tmp_path: Path) -> None:
    store(tmp_path, failed={"x": "cut"}, allowed_bad=2, dataset="voc21", config_hash="aaaa")
    store(tmp_path, limit=5, dataset="voc21", config_hash="bbbb")
    done = table(tmp_path, "--dataset", "voc", "--protocol", "pnp-fixed", "--protocol", "pnp")
    assert done.exit_code == 0, done.output
    assert "1 image could not be read (accepted with --allow-bad 2)" in done.stdout
    assert "5 images; first 5 images only" in done.stdout
    assert "| aaaa |" in done.stdout
    assert "| bbbb |" in done.stdout
    assert "51.3" in done.stdout
    assert "SCLIP" not in done.stdout


def test_csv_read_back() -> None:
    done = table("--format", "csv", "--dataset", "ade20k", "--dataset", "diorama")
    frame = pd.read_csv(io.StringIO(done.stdout))
    assert set(frame["dataset"]) == {"ade20k", "diorama"}
    assert set(frame["kind"]) == {"measured", "published"}
    paper = frame[(frame["system"] == "PnP-OVSS") & (frame["model"] == "BridgeTower, 336 pixels")]
    assert paper["value"].tolist() == [14.8]
    assert paper[["supervision", "filter", "tier", "place", "among"]].to_numpy().tolist() == [
        ["image-text", "gpt4o", "self-reported", 1, 3]
    ]
    assert frame.loc[frame["kind"] == "measured", "settings"].notna().all()


@pytest.mark.parametrize(
    ("name", "start"), [("a.html", "<!DOCTYPE html>"), ("a.csv", "kind,"), ("a.md", "Per cent.")]
)
def test_the_format_follows_the_file(tmp_path: Path, name: str, start: str) -> None:
    done = table("--out", tmp_path / name)
    assert done.stdout == f"written: {tmp_path / name}\n"
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert text.startswith(start)
    if name.endswith("html"):
        assert len(Page(text).tables) == 2


def test_unverified_figures_on_request() -> None:
    assert "DiffSegmenter" not in table().stdout
    text = table("--unverified").stdout
    assert "| DiffSegmenter |" in text
    assert "60.1 ?" in text
    assert "Left out" not in text


def test_another_metric_has_no_published_figure() -> None:
    done = table("--metric", "miou_stuff")
    assert stored("miou_stuff") in done.stdout
    assert "Published" not in done.stdout.split("\n", 1)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "vco21"], ["'vco21'", "did you mean 'voc21'"]),
        (["--protocol", "tlc"], ["'tlc'", "did you mean 'tcl'"]),
        (["--metric", "mious"], ["no figure is called 'mious'", "miou"]),
        (["--format", "htm"], ["unknown format 'htm'", "did you mean 'html'"]),
        (["gone"], ["gone: no such folder"]),
        (["."], ["no results there", "ovss run --out"]),
    ],
)
def test_errors_are_one_line(arguments: list[str], words: list[str]) -> None:
    one_error(table(*arguments), 2, *words)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store(tmp_path)
    (tmp_path / "cut.json").write_text('{"metrics": ')
    one_error(table(tmp_path), 2, "cut.json is not a results file of `ovss run`")
