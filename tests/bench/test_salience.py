"""Salience against the full graph: the record, and that a wrong result is noticed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ovsslib.bench import full_graph
from ovsslib.bench.agreement import TOLERANCE, Agreement, compare
from ovsslib.bench.case import Spec, prepare
from ovsslib.bench.random_models import TINY
from ovsslib.bench.salience import memory_of_both, ours, sweep
from ovsslib.cli.main import app
from ovsslib.pnp import dropout
from ovsslib.pnp import salience as steps

# Another input size than the model's, so that position embeddings are interpolated.
SPEC = Spec(
    vlm=TINY,
    image_size=64,
    classes=3,
    rounds=3,
    patches=4,
    layer=2,
    head=2,
    batch=2,
    images=3,
    device="cpu",
)
SMALL = f"--vlm {TINY} --layer 2 --head 2 --rounds 3 --patches 4 --repeat 1 --matmul-size 16"
SMALL += " --device cpu --image-size 64"


def ovss(words: str, *more: object) -> Any:
    return CliRunner().invoke(app, ["bench", *words.split(), *map(str, more)])


def check(spec: Spec) -> Agreement:
    case = prepare(spec)
    exact = prepare(dataclasses.replace(spec, dtype="float32"))
    reference, maps = full_graph.run(exact), ours(case, stages=True)
    return compare(reference, maps, case.config.patches_per_round, TOLERANCE[spec.dtype])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"head": 0, "layer": 1, "batch": 3},
        {"classes": 45, "image_size": 48, "rounds": 2},  # prompts beyond the positions
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_both_ways_agree(change: dict[str, Any]) -> None:
    agreement = check(dataclasses.replace(SPEC, **change))
    assert agreement.agree
    assert not agreement.wrong_patches
    assert agreement.rounds[0] is not None
    if agreement.tolerance == TOLERANCE["float32"]:
        assert agreement.other_patches == 0
        assert agreement.sums is not None
        assert agreement.sums < 1e-4


def test_a_broken_map_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    right = steps.gradcam_map
    monkeypatch.setattr(steps, "gradcam_map", lambda *given: right(*given).roll(1, -1))
    done = ovss(f"salience {SMALL} --no-memory")
    assert done.exit_code == 1
    assert "the maps DO NOT agree" in done.stdout
    assert done.stderr == "error: the maps do not agree with those of the whole graph\n"


def test_broken_dropout_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dropout.choose_patches
    monkeypatch.setattr(
        dropout,
        "choose_patches",
        lambda values, gone, count, **more: right(1 / (1 + values), gone, count, **more),
    )
    agreement = check(SPEC)
    assert not agreement.agree
    assert agreement.rounds[0] is not None
    assert agreement.rounds[0] < 1e-4
    assert agreement.rounds[1:] == [None, None]
    assert agreement.sums is None
    assert agreement.other_patches == agreement.wrong_patches == 3


def test_record(tmp_path: Path) -> None:
    done = ovss(f"salience {SMALL} --no-memory --classes 2 --images 2 --json --out", tmp_path)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    (stored,) = tmp_path.iterdir()
    assert stored.name == "salience-blip-tiny-random-float32-cpu.json"
    assert json.loads(stored.read_text()) == record
    settings = record["settings"]
    assert settings.pop("threads") >= 1
    assert settings == {
        "vlm": TINY,
        "image_size": 64,
        "classes": 2,
        "rounds": 3,
        "patches": 4,
        "layer": 2,
        "head": 2,
        "batch": 1,
        "images": 2,
        "compiled": False,
        "repeats": 1,
    }
    assert record["agreement"]["agree"] is True
    times = record["seconds"]
    assert times.keys() == {"everything", "ours"}
    assert record["ratio"] == pytest.approx(times["everything"] / times["ours"])
    assert record["memory"] is None
    assert record["rate"] == pytest.approx(record["flops"] / times["ours"])
    assert record["share"] == pytest.approx(record["rate"] / record["matmul_rate"])
    assert {"git", "packages", "processor", "cpus", "time"} <= record["provenance"].keys()


def test_table() -> None:
    done = ovss(f"salience {SMALL} --no-memory --classes 2")
    assert done.exit_code == 0, done.output
    for words in (
        "64 pixels, 2 classes, 3 rounds, layer 2, head 2",
        "seconds per image",
        "(counted by torch.utils.flop_counter)",
        "the maps agree",
    ):
        assert words in done.stdout


def test_memory_is_measured_in_other_processes() -> None:
    both = memory_of_both(dataclasses.replace(SPEC, images=1))
    for way in ("everything", "ours"):
        assert both[way]["net"] == both[way]["peak"] - both[way]["start"] > 0
        assert both[way]["start"] > 1 << 20
    assert both["share"] == both["ours"]["net"] / both["everything"]["net"]


def test_batch_sizes(tmp_path: Path) -> None:
    words = f"salience {SMALL} --batches 1,2 --images 3 --dtype bfloat16"
    done = ovss(words, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "batches-blip-tiny-random-bfloat16-cpu.json").read_text())
    assert [(row["batch"], row["images"]) for row in record["rows"]] == [(1, 3), (2, 4)]
    for row in record["rows"]:
        share = row["salience"] * record["flops"] / record["matmul_rate"]
        assert row["share"] == pytest.approx(share)
        assert row["peak"] is None
    assert record["provenance"]["dtype"] == "bfloat16"


def test_flops_do_not_depend_on_the_batch() -> None:
    records = [sweep(SPEC, [batch], repeats=1, matmul_size=8) for batch in (1, 2)]
    assert records[0]["flops"] == records[1]["flops"] > 1e6
