"""Salience maps once per group of settings; refinement and scoring anywhere."""

from __future__ import annotations

import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate import stages
from ovsslib.evaluate.spec import Execution, Log
from ovsslib.evaluate.stages import (
    REFINEMENT,
    in_batches,
    pending_images,
    refine_and_score,
    salience_groups,
)
from ovsslib.evaluate.task import Task, make_task
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.result import Maps
from support.helpers import make_tiny_blip, write_voc

BASE = PnPConfig(layer=1, head=None, rounds=2, patches_per_round=5, crf_iterations=2)


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = make_tiny_blip(tmp_path_factory.mktemp("models") / "tiny")
    return ovsslib.load_vlm(folder, device="cpu")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(load_dataset("diorama", write_voc(tmp_path_factory.mktemp("data"), 3)))


def test_settings_that_differ_in_refinement_only_are_one_group() -> None:
    configs = {
        "attention": BASE.replace(salience="attention", rounds=1, blur=0.0, crf=False),
        "gradcam": BASE.replace(rounds=1, blur=0.0, crf=False),
        "dropout": BASE.replace(blur=0.0, crf=False),
        "blur": BASE.replace(crf=False),
        "crf": BASE,
        "random": BASE.replace(salience="random"),
    }
    groups = [["attention"], ["gradcam"], ["dropout", "blur", "crf"], ["random"]]
    assert salience_groups(configs) == groups


def test_a_job_travels_and_does_what_segmenting_does(vlm: object, work: Task) -> None:
    configs, log = {"sharp": BASE.replace(blur=0.0), "crf": BASE}, Log()
    jobs = list(pending_images(vlm, configs, work, Execution(batch=2), log))
    assert [(job.image, job.setting) for job in jobs] == [
        (name, setting)
        for batch in (work.ids[:2], work.ids[2:])
        for name in batch
        for setting in configs
    ]
    assert set(log.stages) == {"read", "salience"}
    for job in jobs:
        done = refine_and_score(pickle.loads(pickle.dumps(job)))
        picture = work.read(job.image)
        model = PnPOVSS(vlm, configs[job.setting])
        labels = model.segment(picture.image, picture.classes).labels
        expected = work.protocol.tally(labels, picture.looked_for, picture.truth, 20)
        assert np.array_equal(done.tally.confusion, expected.confusion)
        assert done.refining > 0
        assert done.scoring > 0


def test_batches_that_are_refined_at_once_give_the_same(
    vlm: object, work: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU; the pixels counted are those of refinement in other processes."""
    torch_crf = BASE.replace(crf_backend="torch")
    configs = {"torch": torch_crf, "sharp": torch_crf.replace(blur=0.0), "other": BASE}
    apart = list(pending_images(vlm, configs, work, Execution(batch=2), Log()))
    assert all(isinstance(job.maps, Maps) for job in apart)
    log = Log()
    monkeypatch.setattr(stages, "in_batches", lambda config, _: config.crf_backend == "torch")
    at_once = list(pending_images(vlm, configs, work, Execution(batch=2), log))
    assert log.stages["refine"] > 0
    for one, two in zip(apart, at_once, strict=True):
        assert (one.setting, one.image) == (two.setting, two.image)
        assert isinstance(two.maps, np.ndarray) == (two.setting != "other")
        counted = [refine_and_score(job).tally.confusion for job in (one, two)]
        assert np.array_equal(*counted)


def test_a_batch_that_cannot_be_refined_is_named(
    vlm: object, work: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BASE.replace(crf_backend="torch", crf_bilateral_sxy=1e-3, crf_bilateral_srgb=1e-3)
    monkeypatch.setattr(stages, "in_batches", lambda *_: True)
    with pytest.raises(OvssError, match=f"{work.ids[0]} to {work.ids[1]}: the dense CRF: "):
        list(pending_images(vlm, {"one": config}, work, Execution(batch=2), Log()))
    assert not in_batches(config, torch.device("cpu"))
    assert in_batches(config, torch.device("cuda"))
    assert not in_batches(BASE, torch.device("cuda"))


OTHER = {
    "threshold": 0.5, "blur": 0.2, "crf": False, "crf_iterations": 3, "crf_gaussian_sxy": 9.0,
    "crf_gaussian_compat": 1.0, "crf_bilateral_sxy": 9.0, "crf_bilateral_srgb": 50.0,
    "crf_bilateral_compat": 1.0, "crf_backend": "torch", "background": "never",
    "max_side": 20, "align_corners": True, "constant_planes": "nan", "normalise": False,
    "pamr": 2, "pamr_dilations": (1, 3),
}  # fmt: skip


def test_settings_called_refinement_leave_the_maps_alone(vlm: object, work: Task) -> None:
    assert set(OTHER) == REFINEMENT
    picture = work.read(work.ids[0])
    base = PnPOVSS(vlm, BASE).maps([picture.image], [picture.classes])[0].maps
    for name, value in OTHER.items():
        assert getattr(BASE, name) != value
        changed = PnPOVSS(vlm, BASE.replace(**{name: value}))
        assert (changed.maps([picture.image], [picture.classes])[0].maps == base).all(), name


def test_every_other_setting_gets_its_own_pass() -> None:
    """A new setting that is forgotten in `REFINEMENT` costs time, never a wrong figure."""
    salience = {item.name for item in fields(PnPConfig)} - REFINEMENT
    assert {"layer", "head", "salience", "rounds", "patches_per_round", "seed"} <= salience
    assert len(salience_groups({"a": BASE, "b": BASE.replace(seed=1)})) == 2
