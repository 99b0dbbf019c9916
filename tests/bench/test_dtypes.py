"""``ovss bench precision``, and labels and FLOPs of number types in the other benchmarks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ovsslib.bench import full_graph as everything
from ovsslib.bench.agreement import same_labels
from ovsslib.bench.case import Spec, prepare
from ovsslib.bench.machine import count_flops, matmul_rate
from ovsslib.bench.random_models import TINY
from ovsslib.bench.salience import ours
from ovsslib.cli.main import app
from support.helpers import one_error

SPEC = Spec(
    vlm=TINY, image_size=64, classes=3, rounds=2, patches=4, layer=2, head=2, images=2, device="cpu"
)


def test_record_and_table(tmp_path: Path) -> None:
    words = "bench precision --images 3 --dtypes bfloat16,int8 --threads 1 --device cpu --out"
    done = CliRunner().invoke(app, [*words.split(), str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "labels: share of pixels labelled as in float32" in done.stdout
    record = json.loads((tmp_path / "precision-micro-blip-float32-cpu.json").read_text())
    rows = {row["dtype"]: row for row in record["rows"]}
    assert list(rows) == ["float32", "bfloat16", "int8"]
    assert rows["float32"]["labels"] == rows["float32"]["worst"] == rows["float32"]["ratio"] == 1
    for row in (rows["bfloat16"], rows["int8"]):
        assert 0.9 < row["worst"] <= row["labels"] < 1, "nothing was rounded"
        assert row["kept"] == (row["labels"] >= 0.99)
        assert row["ratio"] == pytest.approx(rows["float32"]["seconds"] / row["seconds"])
    settings = record["settings"]
    assert (settings["split"], settings["images"]) == ("tune", 3), "nothing is chosen on val"


def test_unknown_type() -> None:
    done = CliRunner().invoke(app, "bench precision --images 1 --dtypes int4".split())
    one_error(done, 2, "unknown dtype 'int4'; did you mean 'int8'?")


def test_labels_are_compared_after_refinement() -> None:
    work = prepare(dataclasses.replace(SPEC, packed=False))
    reference, found = everything.run(work), ours(work)
    # A pixel between two classes may fall to either side by rounding.
    assert min(same_labels(reference, found, work.config)) > 0.9999
    other = [
        dataclasses.replace(maps, maps=np.ascontiguousarray(maps.maps[::-1])) for maps in found
    ]
    assert max(same_labels(reference, other, work.config)) < 1


def test_a_compiled_image_encoder_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))  # noqa: PLW0108
    work = prepare(dataclasses.replace(SPEC, compiled=True))
    assert compiled == [work.matcher.image_encoder]  # type: ignore[attr-defined]
    assert work.describe()["compiled"] is True
    assert prepare(SPEC).describe()["compiled"] is False


def test_products_of_integers_count_as_flops_and_have_a_rate() -> None:
    integers, halves = (
        prepare(dataclasses.replace(SPEC, dtype=dtype, packed=False))
        for dtype in ("int8", "bfloat16")
    )
    assert count_flops(lambda: ours(integers)) == count_flops(lambda: ours(halves))
    assert matmul_rate(torch.int8, torch.device("cpu"), size=32, products=2) > 0
