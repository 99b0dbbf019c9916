"""``ovss bench tuning``: four ways, the same rewards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ovsslib.bench import tuning as bench
from ovsslib.cli.main import app
from support.helpers import one_error


def test_record_and_table(tmp_path: Path) -> None:
    words = "bench tuning --images 40 --candidates 8 --fair 8 --usual 1 --device cpu --out"
    done = CliRunner().invoke(app, [*words.split(), str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "maps of all layers and heads" in done.stdout
    record = json.loads((tmp_path / "tuning-micro-blip-float32-cpu.json").read_text())
    rows = {row["way"]: row for row in record["rows"]}
    assert {way: row["candidates"] for way, row in rows.items()} == {
        "stored": 8,
        "race": 8,
        "fair": 8,
        "usual": 1,
    }
    for row in rows.values():
        assert 0 < row["clip"] < 1
        assert row["rate"] == pytest.approx(60 / row["seconds"])
        assert row["ratio"] == pytest.approx(row["seconds"] / rows["stored"]["seconds"])
    assert rows["usual"]["ratio"] > 1, "the whole pipeline for each candidate, nine times as long"
    assert 0 < record["with_collect"] < rows["fair"]["ratio"]
    assert record["agreement"]["agree"]
    assert record["agreement"]["winner"]
    assert 0 < record["judged"] <= 1
    settings = record["settings"]
    assert (settings["split"], settings["images"]) == ("tune", 40), "nothing is chosen on val"
    assert record["bytes"] > 0
    assert record["collect"] > 0


def test_other_rewards_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    original = bench.masks_of

    def upside_down(*args: object) -> object:
        return original(*args).flip(2)  # type: ignore[arg-type]

    monkeypatch.setattr(bench, "masks_of", upside_down)
    words = "bench tuning --images 4 --candidates 3 --usual 0 --device cpu"
    done = CliRunner().invoke(app, words.split())
    one_error(done, 1, "the rewards are not those of the pipeline")


def test_unknown_model() -> None:
    done = CliRunner().invoke(app, "bench tuning --vlm no-such-model".split())
    one_error(done, 2, "no-such-model")
