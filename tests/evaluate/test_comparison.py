"""Settings compared over the same images: real runs of a tiny model, broken off, continued."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import ovsslib
from ovsslib.cli.main import app
from ovsslib.errors import OvssError
from ovsslib.evaluate import comparison, resume
from ovsslib.evaluate import run as benchmark
from ovsslib.evaluate.comparison import (
    file_stem,
    load,
    load_counts,
    measure,
    shipped,
    weights_digest,
)
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.evaluate.task import make_task
from ovsslib.metrics import iou as metrics
from ovsslib.metrics.counts import COUNT_NAMES
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.departures import ALL, PAPER, settings
from support.helpers import make_tiny_blip, one_error, write_voc

SMALL = {"layer": 1, "head": 1, "rounds": 3, "patches_per_round": 20, "crf_iterations": 2}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    folder = make_tiny_blip(tmp_path_factory.mktemp("models") / "tiny")
    return RunSpec(vlm=str(folder), preset="micro-blip", config=SMALL)


@pytest.fixture(scope="module")
def how(tmp_path_factory: pytest.TempPathFactory) -> Execution:
    return Execution(root=write_voc(tmp_path_factory.mktemp("data"), 4), device="cpu", batch=3)


@pytest.fixture(scope="module")
def stored(spec: RunSpec, how: Execution, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measure(spec, settings, tmp_path_factory.mktemp("out"), how)[0]


def test_figures_are_those_of_separate_runs(stored: Path, spec: RunSpec, how: Execution) -> None:
    record = load(stored)
    model = ovsslib.load("pnp-ovss", vlm=spec.vlm, preset=spec.preset, device="cpu", **SMALL)
    configs = settings(model.config)
    assert list(record["runs"]) == list(configs)
    work = make_task(ovsslib.datasets.load_dataset("diorama", how.root))
    base = benchmark.run(ovsslib.PnPOVSS(model.matcher, configs[PAPER]), work, how)
    changed = set()
    for name, config in configs.items():
        alone = benchmark.run(ovsslib.PnPOVSS(model.matcher, config), work, how)
        ids, counts = load_counts(stored, name)
        assert ids == alone.ids
        for one in COUNT_NAMES:
            assert (getattr(counts, one) == getattr(alone.counts, one)).all()
        run = record["runs"][name]
        pair = metrics.paired_interval(alone.counts, base.counts, alone.scored)
        assert run["difference"] == pytest.approx(pair.to_dict())
        assert run["miou"] == pytest.approx(metrics.interval(alone.counts, alone.scored).to_dict())
        touched = (alone.counts.predicted != base.counts.predicted).any(axis=1)
        assert run["pictures_changed"] == touched.sum()
        changed |= {name} if touched.any() else set()
    # Not equal because nothing happens; with the blur on, planes are normalised in any case.
    assert {"round0_twice", "align_corners", ALL} <= changed
    assert not changed & {PAPER, "normalise"}


def test_the_file_says_where_it_comes_from(stored: Path, spec: RunSpec) -> None:
    record = load(stored)
    assert stored.stem == record["name"] == "tiny_diorama-val_oracle"
    assert record["images"] == 4
    assert record["failed"] == {}
    assert record["batch"] == 3
    assert record["config"]["background"] == "few"
    paper = PnPConfig.from_dict(record["config"]).replace(background="always")
    assert record["settings"][PAPER] == paper.hash()
    assert {"git", "packages", "processor", "time"} <= record["provenance"].keys()
    assert record["seconds"] > 0
    assert spec.vlm not in stored.read_text()
    assert [path.name for path in stored.parent.glob("*.part*")] == []


def test_continues_where_it_was_broken_off(
    stored: Path, spec: RunSpec, how: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shards of one batch each; the call is broken off after the first."""
    monkeypatch.setattr(comparison, "SIZE", how.batch)
    real, done = resume.run_shard, []

    def breaks(job: resume.ShardJob) -> int:
        if done:
            raise KeyboardInterrupt
        done.append(job.shard.index)
        return real(job)

    monkeypatch.setattr(resume, "run_shard", breaks)
    with pytest.raises(KeyboardInterrupt):
        measure(spec, settings, tmp_path, how)
    (store,) = tmp_path.iterdir()
    assert len(list(store.glob("*/*.parquet"))) == len(load(stored)["runs"])
    again = []
    monkeypatch.setattr(resume, "run_shard", lambda job: again.append(job.shard.index) or real(job))
    path, record = measure(spec, settings, tmp_path, how)
    assert (done, again) == ([0], [1])
    assert record["runs"] == load(stored)["runs"]
    assert not store.exists()
    for name in (PAPER, ALL):
        one, two = load_counts(path, name), load_counts(stored, name)
        assert one[0] == two[0]
        assert (one[1].intersection == two[1].intersection).all()


def test_the_number_type_of_a_run_is_that_of_the_measurement(
    spec: RunSpec, how: Execution, tmp_path: Path
) -> None:
    half = dataclasses.replace(spec, dtype="bfloat16", limit=1)
    path, record = measure(half, settings, tmp_path, how)
    assert record["provenance"]["dtype"] == "bfloat16"
    assert record["vlm"] == "tiny@bfloat16"
    assert path.name == "tiny@bfloat16_diorama-val_oracle_1.json"


def test_digest_changes_with_any_weight(spec: RunSpec) -> None:
    matcher = ovsslib.load_vlm(spec.vlm, device="cpu")
    before = weights_digest(matcher)
    assert before == weights_digest(ovsslib.load_vlm(spec.vlm, device="cpu"))
    matcher.model.itm_head.bias[0] += 1e-6
    assert weights_digest(matcher) != before
    assert weights_digest(ovsslib.load_vlm(spec.vlm, device="cpu", dtype="bfloat16")) != before


def test_unreadable_results(stored: Path, tmp_path: Path) -> None:
    for text in (None, "{", '{"schema": 99}', '{"schema": 1, "runs": {}}', "[]"):
        path = tmp_path / "x.json"
        if text is not None:
            path.write_text(text)
        with pytest.raises(OvssError, match=r"x\.json: no stored comparison"):
            load(path)
    with pytest.raises(OvssError, match="no counts of setting 'paper'"):
        load_counts(tmp_path / "x.json", PAPER)
    with pytest.raises(OvssError, match="no counts of setting 'papper'"):
        load_counts(stored, "papper")


def test_command(spec: RunSpec, how: Execution, tmp_path: Path) -> None:
    (how.root / "SegmentationClass").joinpath("img_0001.png").rename(tmp_path / "hidden.png")
    words = ["deviations", "--vlm", spec.vlm, "--preset", "micro-blip", "--root", str(how.root)]
    words += [f"--set={key}={value}" for key, value in SMALL.items()]
    words += ["--limit", "2", "--out", str(tmp_path / "out")]
    try:
        done = CliRunner().invoke(app, words)
    finally:
        (tmp_path / "hidden.png").rename(how.root / "SegmentationClass" / "img_0001.png")
    one_error(done, 1, "img_0001")
    assert "drop_value       black -> mean" in done.stdout
    assert "(1 images, protocol pnp-fixed, filter oracle)" in done.stdout
    assert load(tmp_path / "out" / "tiny_diorama-val_oracle_2.json")["images"] == 1


def test_shipped_results_are_of_the_shipped_model() -> None:
    """After new weights: ``ovss deviations --refine-workers 1 --out data/results/deviations``."""
    (path,) = shipped("deviations").glob("*.json")
    record = load(path)
    assert path.stem == file_stem(record) == "micro-blip_diorama-val_oracle"
    model = ovsslib.load("pnp-ovss", vlm="micro-blip", device="cpu")
    assert record["weights"] == weights_digest(model.matcher)
    assert record["settings"] == {
        name: config.hash() for name, config in settings(model.config).items()
    }
    data = ovsslib.datasets.load_dataset("diorama")
    for name, run in record["runs"].items():
        ids, counts = load_counts(path, name)
        assert ids == tuple(data.ids)
        value = metrics.mean_iou(counts, range(1, len(data.classes) + 1))
        assert run["miou"]["value"] == pytest.approx(value, abs=1e-12)
        assert np.isfinite(list(run["difference"].values())).all()
