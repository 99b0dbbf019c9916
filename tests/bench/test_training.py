"""`ovss bench training`: what a training step costs."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from ovsslib.bench import training as bench
from ovsslib.bench.training import STEPS, step_cost
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.trained.registry import TRAINABLE
from support.helpers import ovss


def test_record_and_table(tmp_path: Path) -> None:
    words = "bench training --models micro-pacl --batch 4 --threads 1".split()
    done: Any = ovss(*words, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["settings"] == {"batch": 4, "threads": 1, "measured": STEPS - 1}
    (row,) = record["rows"]
    entry = TRAINABLE["micro-pacl"]
    assert (row["model"], row["steps"]) == ("micro-pacl", entry.schedule["steps"])
    assert row["minutes"] == pytest.approx(row["steps"] * row["seconds"] / 60)
    assert 0 < row["seconds"] <= row["longest"]
    assert 0 < row["share"] < 1
    (line,) = [words for words in map(str.split, done.stdout.splitlines()) if "micro-pacl" in words]
    assert f"{100 * row['share']:.4g}" in line


def test_seconds_operations_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training whose steps are known: a product of 8 x 16 and 16 x 4 matrices each."""
    given: list[dict[str, Any]] = []
    seconds = [9.0, *([1.0] * (STEPS - 2)), 2.0]

    def begin(schedule: Schedule, recipe: Recipe, cache: Path, *rest: Any) -> Any:
        given.append(asdict(schedule) | asdict(recipe) | {"every": rest[1], "size": rest[2]})
        assert len(list(cache.glob("*.npz"))) == 3, "all sets are drawn"
        for step in itertools.count():
            torch.ones(8, 16) @ torch.ones(16, 4)
            yield {"seconds": seconds[step]}

    monkeypatch.setattr(bench, "matmul_rate", lambda *_: 4096.0)
    cost = step_cost(begin, Schedule(batch=3, dtype="bfloat16"), Recipe(close_ups=3), "size")
    mean = (STEPS - 2 + 2.0) / (STEPS - 1)
    assert cost == {
        "first": 9.0,
        "seconds": pytest.approx(mean),
        "longest": 2.0,
        "flops": 2 * 8 * 16 * 4,
        "share": pytest.approx(1024 / mean / 4096),
    }
    for one in given:
        assert {key: one[key] for key in ("batch", "pictures", "heldout", "close_ups")} == {
            "batch": 3,
            "pictures": 3,
            "heldout": 2,
            "close_ups": 3,
        }
        assert one["steps"] == one["every"] == STEPS + 1, "held-out figures are not reached"
        assert one["size"] == "size"
