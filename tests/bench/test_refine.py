"""``ovss bench refine``: the stages of refinement, and the pipeline beside the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ovsslib.bench.refine import flow, made_up_maps, stages
from ovsslib.cli.main import app
from ovsslib.pnp.presets import preset


def ovss(words: str, *more: object) -> Any:
    return CliRunner().invoke(app, ["bench", *words.split(), *map(str, more)])


def test_refinement_stages() -> None:
    rows = stages([(40, 30), (20, 30)], [1, 3], 2)
    assert [(row["size"], row["classes"], row["planes"]) for row in rows] == [
        ("40x30", 1, 2),
        ("40x30", 3, 4),
        ("20x30", 1, 2),
        ("20x30", 3, 4),
    ]
    assert all(row[name] > 0 for row in rows for name in ("upsample", "blur", "crf", "total"))


def test_flow_gives_the_same_labels_for_any_number_of_workers() -> None:
    maps = [made_up_maps((24, 18), 2, seed) for seed in range(5)]
    runs = [flow(iter(maps), preset("blip"), number) for number in (0, 1)]
    assert len(runs[0].checksums) == 5
    assert len(set(runs[0].checksums)) > 1
    assert runs[0].checksums == runs[1].checksums
    assert all(run.seconds > 0 for run in runs)


def test_refine_record_and_table(tmp_path: Path) -> None:
    words = "refine --size 24x18 --classes 1,2 --images 2 --workers 0 --batch 2 --device cpu"
    done = ovss(words, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "milliseconds per image" in done.stdout
    assert "labels are the same for all numbers of workers" in done.stdout
    record = json.loads((tmp_path / "refine.json").read_text())
    assert len(record["rows"]) == 2
    streams = record["pipeline"]
    assert streams["settings"]["vlm"] == "micro-blip"
    assert streams["settings"]["images"] == 2
    assert streams["same_labels"] is True
    (row,) = streams["rows"]
    one_by_one = 1 / (1 / streams["salience"] + 1 / streams["refinement"])
    assert row["sum"] == pytest.approx(one_by_one)
    slower = min(streams["salience"], streams["refinement"])
    assert row["slower_stage"] == pytest.approx(slower)


def test_refine_without_a_pipeline() -> None:
    done = ovss("refine --size 24x18 --images 1 --json --workers", "")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pipeline"] is None
