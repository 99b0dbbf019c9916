"""`ovss bench refine`: the stages of refinement, and the pipeline beside the model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ovsslib.bench import refine
from ovsslib.bench.refine import same_counts, stages, synthetic_maps
from ovsslib.cli.main import app
from ovsslib.evaluate.run import run_many
from ovsslib.evaluate.spec import RunSpec


def ovss(words: str, *more: object) -> Any:
    return CliRunner().invoke(app, ["bench", *words.split(), *map(str, more)])


def test_stages_are_those_of_refine_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {(False, False): 1.0, (True, False): 3.0, (True, True): 10.0}
    now = [0.0]

    def fake(_: object, config: Any) -> None:
        now[0] += seconds[bool(config.blur), config.crf]
        if config.crf_backend == "torch":
            now[0] -= 4 if config.crf else 0.5

    monkeypatch.setattr(refine, "refine_maps", fake)
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    rows = stages([(40, 30), (20, 30)], [1, 3], 2)
    assert [(row["size"], row["classes"], row["planes"]) for row in rows] == [
        ("40x30", 1, 2),
        ("40x30", 3, 4),
        ("20x30", 1, 2),
        ("20x30", 3, 4),
    ]
    for row in rows:
        times = [row[name] for name in ("upsample", "blur", "crf", "total")]
        assert times == pytest.approx([1000, 2000, 7000, 10_000])
        assert row["blur_torch"] == pytest.approx(2500)
        assert (row["crf_torch"], row["crf_shared"]) == pytest.approx((3500, 3500))
        assert (row["ratio"], row["ratio_shared"]) == pytest.approx((2, 2))


def test_synthetic_maps_fit_their_image() -> None:
    maps = synthetic_maps((24, 18), 2, 0)
    assert maps.maps.shape == (2, refine.GRID, refine.GRID)
    assert maps.image.shape == (18, 24, 3)
    assert len(maps.classes) == 2
    assert not np.array_equal(maps.maps, synthetic_maps((24, 18), 2, 1).maps)


def test_record_and_table(tmp_path: Path) -> None:
    words = "refine --size 24x18 --classes 1,2 --images 2 --refine-workers 0,1 --batch 2"
    done = ovss(f"{words} --device cpu", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "milliseconds per image" in done.stdout
    assert "labels are the same for all numbers of workers" in done.stdout
    record = json.loads((tmp_path / "refine.json").read_text())
    assert len(record["rows"]) == 2
    streams = record["pipeline"]
    assert streams["settings"]["vlm"] == "micro-blip"
    assert streams["settings"]["images"] == 2
    assert streams["same_labels"] is True
    assert [row["workers"] for row in streams["rows"]] == [0, 1]
    one_by_one = 1 / (1 / streams["salience"] + 1 / streams["refinement"])
    slower = min(streams["salience"], streams["refinement"])
    for row in streams["rows"]:
        assert row["sum"] == pytest.approx(one_by_one)
        assert row["slower_stage"] == pytest.approx(slower)


def test_other_counts_are_noticed() -> None:
    run = run_many({"run": RunSpec(limit=1)})["run"]
    other = dataclasses.replace(run.counts, truth=run.counts.truth + 1)
    assert same_counts(run, run)
    assert not same_counts(run, dataclasses.replace(run, counts=other))


def test_without_a_pipeline() -> None:
    done = ovss("refine --size 24x18 --images 1 --json --refine-workers", "")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pipeline"] is None
