"""A whole tuning on real images: no mask is read, the best is the best, the preset runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate import run as benchmark
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.pnp.presets import preset
from ovsslib.tuning.reward import RewardOptions
from ovsslib.tuning.search import Plan
from ovsslib.tuning.tune import Tuning, save_preset, tune

SPEC = RunSpec(split="tune", limit=3, filter="captions")
CPU = Execution(batch=2, device="cpu")


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Diorama's tune split with label files that cannot be read."""
    source = load_dataset("diorama", split="tune")
    root = tmp_path_factory.mktemp("blind")
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    shutil.copy(source.root / "captions.jsonl", root)
    shutil.copy(source.root / "ImageSets/Segmentation/tune.txt", root / "ImageSets/Segmentation")
    for name in source.ids:
        (root / "SegmentationClass" / f"{name}.png").write_bytes(b"no mask")
        shutil.copy(source.root / "JPEGImages" / f"{name}.jpg", root / "JPEGImages")
    return root


def test_no_mask_is_read_and_the_best_is_kept(blind: Path, tmp_path: Path) -> None:
    tuning = Tuning(SPEC, Plan(trials=6, seed=1), mean_head=True)
    how = Execution(batch=2, device="cpu", root=blind)
    found = tune(tuning, how, storage=tmp_path / "t.sqlite")
    assert len(found.search.trials) == 6
    assert found.best.value == max(trial.value for trial in found.search.trials)
    assert 0 < found.best.value <= 1
    best = found.best.candidate
    start = preset("micro-blip")
    assert found.config == start.replace(
        layer=best.layer, head=best.head, threshold=best.threshold, blur=best.blur
    )
    noted = found.record["search"]
    assert (noted["images"], noted["trials"], noted["failed"]) == (3, 6, {})
    assert noted["plan"] == {"sampler": "random", "trials": 6, "seed": 1, "race": False}
    assert str(tmp_path) not in json.dumps(found.record)
    assert str(blind) not in json.dumps(found.record)
    seen = tune(tuning, CPU)
    assert seen.search == found.search, "with masks at hand nothing is different"


def test_a_race_judges_those_that_are_left_as_the_search_does() -> None:
    spec = dataclasses.replace(SPEC, limit=12)
    whole = tune(Tuning(spec, Plan(trials=12)), CPU).search
    raced = tune(Tuning(spec, Plan(trials=12, race=True)), CPU)
    noted = raced.record["search"]
    assert noted["trials"] == len(raced.search.trials) + len(raced.search.dismissed) == 12
    assert noted["dismissed"] == len(raced.search.dismissed) > 0
    value = {trial.candidate: trial.value for trial in whole.trials}
    for trial in raced.search.trials:
        assert trial.value == pytest.approx(value[trial.candidate])
    assert raced.best == whole.best


def test_one_search_more_is_no_work(blind: Path, tmp_path: Path, monkeypatch: object) -> None:
    how = Execution(batch=2, device="cpu", root=blind)
    first = tune(Tuning(SPEC, Plan(trials=3)), how, storage=tmp_path / "t.sqlite")
    from ovsslib.tuning import tune as tuned

    class Silent(tuned.Reward):
        def wins_by_scope(self, *_: object) -> np.ndarray:
            raise AssertionError("nothing is left to judge")

    monkeypatch.setattr(tuned, "Reward", Silent)  # type: ignore[attr-defined]
    again = tune(Tuning(SPEC, Plan(trials=3)), how, storage=tmp_path / "t.sqlite")
    assert again.search == first.search
    other = Tuning(SPEC, Plan(trials=3), RewardOptions(contrast="mean"))
    with pytest.raises(AssertionError, match="nothing is left"):
        tune(other, how, storage=tmp_path / "t.sqlite")


@pytest.mark.parametrize(
    ("labels", "words"),
    [("oracle", "'oracle' reads masks"), ("all", "classes that are not there"), ("clpi", "clpi")],
)
def test_filters_that_will_not_do(labels: str, words: str) -> None:
    with pytest.raises(OvssError, match=words):
        tune(Tuning(RunSpec(split="tune", limit=2, filter=labels)), CPU)


def test_the_preset_runs(tmp_path: Path) -> None:
    found = tune(Tuning(SPEC, Plan(trials=2)), CPU)
    path = save_preset(found, tmp_path / "mine.json")
    assert preset(str(path)) == found.config
    run = RunSpec(preset=str(path), limit=2, config={"crf": False})
    result = benchmark.run_many({"run": run}, CPU)["run"]
    assert result.config["layer"] == found.best.candidate.layer
    with pytest.raises(OvssError, match=r"end in \.json"):
        save_preset(found, tmp_path / "mine.yml")
