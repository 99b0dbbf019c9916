"""Shared salience, workers and batches change the time and not one pixel count."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate import run as benchmark
from ovsslib.evaluate.result import RunResult, figure, figures
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.evaluate.task import Task, make_task
from ovsslib.metrics import iou as metrics
from ovsslib.metrics.counts import Counts
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.result import Segmentation
from support.helpers import make_tiny_blip, write_voc

BASE = PnPConfig(layer=1, head=None, rounds=2, patches_per_round=5, crf_iterations=2)


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = make_tiny_blip(tmp_path_factory.mktemp("models") / "tiny")
    return ovsslib.load_vlm(folder, device="cpu")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(load_dataset("diorama", write_voc(tmp_path_factory.mktemp("data"), 5)))


def same(one: RunResult | Counts, other: RunResult | Counts) -> bool:
    first, second = (r.counts if isinstance(r, RunResult) else r for r in (one, other))
    names = ("intersection", "predicted", "truth")
    return all((getattr(first, n) == getattr(second, n)).all() for n in names)


def test_run_counts_what_segmenting_one_by_one_gives(vlm: object, work: Task) -> None:
    model = PnPOVSS(vlm, BASE)
    got = benchmark.run(model, work, Execution(batch=1))
    settled = PnPOVSS(vlm, BASE.replace(background="few"))
    expected = []
    for name in work.ids:
        picture = work.read(name)
        labels = settled.segment(picture.image, picture.classes).labels
        expected.append(work.protocol.tally(labels, picture.looked_for, picture.truth, 20).counts)
    assert got.ids == work.ids
    assert same(got, Counts.stack(expected))
    assert got.config["background"] == "few"
    assert got.config_hash == settled.config.hash()
    assert got.counts.truth.sum() == sum((work.read(n).truth != 255).sum() for n in work.ids)


def test_ablation_equals_separate_runs(vlm: object, work: Task) -> None:
    configs = {
        "attention": BASE.replace(salience="attention", rounds=1, blur=0.0, crf=False),
        "gradcam": BASE.replace(rounds=1, blur=0.0, crf=False),
        "dropout": BASE.replace(blur=0.0, crf=False),
        "blur": BASE.replace(crf=False),
        "crf": BASE,
        "random": BASE.replace(salience="random"),
    }
    together = benchmark.run_configs(vlm, configs, work)
    assert list(together) == list(configs)
    for name, config in configs.items():
        assert same(together[name], benchmark.run(PnPOVSS(vlm, config), work))
        assert together[name].ids == work.ids
    assert not same(together["blur"], together["crf"])
    difference = metrics.paired_interval(together["crf"].counts, together["blur"].counts, [1, 2])
    assert difference.low <= difference.value <= difference.high


@pytest.mark.parametrize(
    "execution", [Execution(refiners=2), Execution(batch=2), Execution(batch=1)]
)
def test_workers_and_batches_change_nothing(vlm: object, work: Task, execution: Execution) -> None:
    configs = {"blur": BASE.replace(crf=False), "crf": BASE}
    usual = benchmark.run_configs(vlm, configs, work)
    other = benchmark.run_configs(vlm, configs, work, execution)
    assert all(same(usual[name], other[name]) for name in configs)
    assert all(usual[name].ids == other[name].ids for name in configs)


def test_broken_pictures_are_named_and_the_rest_is_run(vlm: object, tmp_path: Path) -> None:
    root = write_voc(tmp_path, 4)
    (root / "JPEGImages" / "img_0001.jpg").unlink()
    (root / "SegmentationClass" / "img_0002.png").write_bytes(b"no label")
    got = benchmark.run(PnPOVSS(vlm, BASE), make_task(load_dataset("diorama", root)))
    assert got.ids == ("img_0000", "img_0003")
    assert set(got.failed) == {"img_0001", "img_0002"}
    for name in ("img_0000", "img_0003"):
        (root / "JPEGImages" / f"{name}.jpg").unlink()
    with pytest.raises(OvssError, match="no image of diorama could be read"):
        benchmark.run(PnPOVSS(vlm, BASE), make_task(load_dataset("diorama", root)))


@dataclass(frozen=True)
class NoSettings:
    def to_dict(self) -> dict:
        return {}

    def hash(self) -> str:
        return "0" * 10


class FirstClass:
    """The simplest method: everything is the first class it was told of."""

    name = "first"
    config = NoSettings()

    def segment_batch(self, images: list, classes: list, *, stages: bool = False) -> list:
        del stages
        return [self.segment(i, c) for i, c in zip(images, classes, strict=True)]

    def segment(self, image: object, classes: tuple, *, stages: bool = False) -> Segmentation:
        del stages
        pixels = np.asarray(image)
        labels = np.full(pixels.shape[:2], 0 if classes else -1, np.int16)
        planes = np.zeros((len(classes), *labels.shape), np.float32)
        return Segmentation(labels, planes, tuple(classes), 1.0, (1.0,) * len(classes), pixels)


def test_any_segmenter_can_be_run(work: Task) -> None:
    got = benchmark.run(FirstClass(), work)
    assert (got.method, got.vlm) == ("first", "none")
    for row, name in enumerate(work.ids):
        first = work.read(name).looked_for[0]
        assert got.counts.predicted[row].nonzero()[0].tolist() == [first]
    recall = metrics.recall(got.counts)
    assert np.nanmax(recall) == 1.0


def test_run_many_shares_the_model(tmp_path: Path) -> None:
    folder = make_tiny_blip(tmp_path / "tiny")
    root = write_voc(tmp_path / "data", 3)
    small = {"layer": 1, "head": None, "rounds": 1, "image_size": None}
    specs = {
        "a": RunSpec(vlm=str(folder), config=small),
        "all": RunSpec(vlm=str(folder), config=small, filter="all", limit=2),
        "b": RunSpec(vlm=str(folder), config=small | {"crf": False}),
    }
    got = benchmark.run_many(specs, Execution(root=root))
    assert list(got) == ["a", "all", "b"]
    assert [len(result.ids) for result in got.values()] == [3, 2, 3]
    assert {result.vlm for result in got.values()} == {"tiny"}
    alone = benchmark.run_many({"b": specs["b"]}, Execution(root=root))["b"]
    assert same(alone, got["b"])
    assert got["a"].limit is None
    assert got["all"].filter == "all"


def test_mean_iou_does_not_depend_on_what_computes_the_crf() -> None:
    """To 0.02 points, on shipped images with the shipped model and its settings."""
    backends = ("pydensecrf", "torch")
    specs = {name: RunSpec(limit=20, config={"crf_backend": name}) for name in backends}
    results = benchmark.run_many(specs, Execution(device="cpu"))
    assert [result.config.get("crf_backend") for result in results.values()] == [None, "torch"]
    one, two = (100 * figure(figures(result), "miou") for result in results.values())
    assert one > 50
    assert abs(one - two) <= 0.02
