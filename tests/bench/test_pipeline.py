"""`ovss bench pipeline`: salience alone, the whole pipeline, and whether labels stay."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ovsslib.bench import pipeline as module
from ovsslib.bench.case import Spec, prepare
from ovsslib.bench.pipeline import pipeline, whole
from ovsslib.bench.random_models import TINY
from ovsslib.bench.tables import pipeline_text
from ovsslib.cli.main import app
from ovsslib.densecrf.shared import lattices
from ovsslib.errors import OvssError
from ovsslib.io.pool import close
from ovsslib.pnp.pipeline import PnPOVSS

SPEC = Spec(vlm=TINY, layer=2, head=2, rounds=2, device="cpu", batch=2, images=3)
SMALL = f"pipeline --size 40x30 --repeat 1 --device cpu --threads 1 --vlm {TINY}"


def ovss(words: str, *more: object) -> Any:
    return CliRunner().invoke(app, ["bench", *words.split(), *map(str, more)])


def rows(**given: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pipeline(SPEC, sizes=[(24, 18)], repeats=1, **given)["rows"]
    return found


def test_record_and_table(tmp_path: Path) -> None:
    words = "pipeline --size 40x30 --batches 1,2 --classes 2 --images 3 --repeat 1"
    done = ovss(f"{words} --device cpu", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "share: % of the pipeline's time that refinement takes" in done.stdout
    (stored,) = tmp_path.iterdir()
    assert stored.name == "pipeline-micro-blip-float32-cpu.json"
    record = json.loads(stored.read_text())
    assert record["kind"] == "bench-pipeline"
    found = [(row["batch"], row["crf"], row["images"]) for row in record["rows"]]
    expected = [(1, 3), (2, 4)]  # whole batches
    assert found == [(b, crf, n) for b, n in expected for crf in ("pydensecrf", "torch")]
    for row in record["rows"]:
        assert (row["size"], row["classes"]) == ("40x30", 2)
        assert row["share"] == pytest.approx(1 - row["pipeline"] / row["salience"])
        assert row["alike"] >= module.ALIKE
    settings = record["settings"]
    assert settings["refiners"] == 0
    assert settings["config"]["rounds"] == settings["rounds"] == 4
    assert not {"batch", "classes", "images"} & settings.keys()
    assert {"git", "packages", "processor", "cpus", "time"} <= record["provenance"].keys()


def test_whole_is_what_segmenting_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, in another one, and batch by batch as on a GPU."""
    case = module._case(prepare(SPEC), (24, 18), 3, 2, 3)
    assert len(case.images) == 4
    for backend in module.BACKENDS:
        one = dataclasses.replace(case, config=case.config.replace(crf_backend=backend))
        model = PnPOVSS(one.matcher, one.config)
        wanted = [found.labels for found in model.segment_batch(one.images, one.classes)]
        assert len({labels.tobytes() for labels in wanted}) > 1
        assert all(map(np.array_equal, whole(one, 0), wanted))
        try:
            assert all(map(np.array_equal, whole(one, 1), wanted))
        finally:
            close()
    monkeypatch.setattr(module, "in_batches", lambda *_: True)
    assert all(map(np.array_equal, whole(one, 1), wanted))


def test_lattices_of_an_earlier_turn_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    case = module._case(prepare(SPEC), (24, 18), 3, 2, 2)
    case = dataclasses.replace(case, config=case.config.replace(crf_backend="torch"))
    whole(case, 0)
    assert len(lattices) == 3  # one for positions, two for colours
    forgotten = []
    clear = lattices.clear
    monkeypatch.setattr(lattices, "clear", lambda: (clear(), forgotten.append(len(lattices))))
    whole(case, 0)
    assert forgotten == [0]
    assert len(lattices) == 3


def test_time_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "alternate", lambda calls, *_: {name: 2.0**n for n, name in enumerate(calls)}
    )
    first, second = rows(batches=[4], classes=[1])
    assert (first["salience"], first["pipeline"], first["share"]) == (4, 2, 0.5)
    assert (second["salience"], second["pipeline"], second["share"]) == (4, 1, 0.75)


def test_what_does_not_fit_into_memory_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(case: Any, *_: object) -> None:
        if case.batch == 2:
            raise torch.OutOfMemoryError

    monkeypatch.setattr(module, "whole", full)
    record = pipeline(SPEC, [2, 1], [1], [(24, 18)], backends=["torch"], repeats=1)
    row = {"size": "24x18", "classes": 1, "batch": 2, "error": "out of memory"}
    assert record["rows"][0] == row
    assert record["rows"][1]["crf"] == "torch"
    shown = pipeline_text(record)
    assert "out of memory" in shown
    assert "nan" not in shown.lower()


def test_other_labels_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PnPOVSS.refine

    def wrong(model: PnPOVSS, batch: Any) -> Any:
        done = right(model, batch)
        if model.config.crf_backend == "torch":
            done = [dataclasses.replace(one, labels=one.labels + 1) for one in done]
        return done

    monkeypatch.setattr(PnPOVSS, "refine", wrong)
    done = ovss(f"{SMALL} --batches 1 --classes 2")
    assert done.exit_code == 1
    assert "the backends of the CRF do not label the same pixels alike" in done.stderr


@pytest.mark.parametrize(
    "given",
    [
        {"batches": [0], "classes": [1]},
        {"batches": [1], "classes": []},
        {"batches": [1], "classes": [1], "refiners": -1},
        {"batches": [1], "classes": [1], "backends": ["torhc"]},
    ],
    ids=str,
)
def test_faults(given: dict[str, Any]) -> None:
    with pytest.raises(OvssError):
        rows(**given)
