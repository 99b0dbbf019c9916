"""Checkpoints and data sets in real folders, whole, damaged and absent."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ovsslib.cli.doctor.inventory import (
    DATA_COMMANDS,
    HUB_MODELS,
    LAVIS_FILE,
    data_rows,
    model_rows,
)
from ovsslib.cli.doctor.machine import Row
from ovsslib.datasets import FILES
from ovsslib.datasets.voc import VOCDataset
from support.helpers import write_voc
from support.small_data import write_coco

PAPERS = "Salesforce/blip-itm-large-flickr"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and nothing in any other cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for variable, name in (("OVSS_CACHE", "cache"), ("TORCH_HOME", "torch")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    for variable in ("OVSS_DATA", "OVSS_CHECKPOINTS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "hub"


def cached(hub: Path, repo: str, *names: str) -> Path:
    """A repository in the hub's layout: links in a snapshot to blobs of other names."""
    base = hub / f"models--{repo.replace('/', '--')}"
    snapshot = base / "snapshots" / ("d" * 40)
    for folder in (snapshot, base / "blobs", base / "refs"):
        folder.mkdir(parents=True)
    (base / "refs" / "main").write_text("d" * 40)
    for number, name in enumerate(names):
        (base / "blobs" / str(number)).write_bytes(b"something")
        (snapshot / name).symlink_to(base / "blobs" / str(number))
    return snapshot


def row(rows: list[Row], name: str) -> Row:
    (found,) = [one for one in rows if one.name == name]
    return found


def test_nothing_cached() -> None:
    rows = model_rows()
    assert row(rows, "micro-blip").state == "ok"
    assert row(rows, "micro-blip").required
    assert row(rows, "micro-clip").state == "ok"
    assert next(iter(HUB_MODELS)) == PAPERS
    for repo in HUB_MODELS:
        assert row(rows, repo).state == "missing"
        assert row(rows, repo).command == f"hf download {repo}"
        assert not row(rows, repo).required
    assert row(rows, LAVIS_FILE).command.startswith("curl ")


@pytest.mark.parametrize(
    "weights", ["model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json"]
)
def test_hub_model(hub: Path, weights: str) -> None:
    snapshot = cached(hub, PAPERS, "config.json", weights, "tokenizer.json")
    found = row(model_rows(), PAPERS)
    assert (found.state, found.detail, found.command) == ("ok", str(snapshot), "")


def test_download_that_was_broken_off(hub: Path) -> None:
    snapshot = cached(hub, PAPERS, "config.json", "tokenizer.json", "model.safetensors")
    (snapshot / "model.safetensors").resolve().unlink()
    found = row(model_rows(), PAPERS)
    assert found.state == "broken"
    assert "lacks model.safetensors or pytorch_model.bin" in found.detail
    assert found.command == f"hf download {PAPERS}"
    (snapshot / "tokenizer.json").resolve().write_bytes(b"")
    (snapshot / "model.safetensors").resolve().write_bytes(b"whole now")
    assert "lacks tokenizer.json" in row(model_rows(), PAPERS).detail


def test_shipped_model_that_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "micro-blip").mkdir()
    (tmp_path / "micro-blip" / "config.json").write_text("{}")
    monkeypatch.setenv("OVSS_CHECKPOINTS", str(tmp_path))
    found = row(model_rows(), "micro-blip")
    assert (found.state, found.required) == ("broken", True)
    assert found.command == "ovss train micro-blip"


@pytest.mark.parametrize("where", ["torch/hub/checkpoints", "cache/checkpoints/lavis"])
def test_lavis_file(tmp_path: Path, where: str) -> None:
    file = tmp_path / where / LAVIS_FILE
    command = row(model_rows(), LAVIS_FILE).command
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    found = row(model_rows(), LAVIS_FILE)
    assert (found.state, found.detail) == ("ok", str(file))
    # What the command writes is what the next look finds.
    assert str(tmp_path / "cache" / "checkpoints" / "lavis" / LAVIS_FILE) in command


def test_every_data_set_says_how_to_get_it() -> None:
    rows = data_rows()
    assert {one.name for one in rows} == set(FILES)
    assert set(FILES) == set(DATA_COMMANDS)
    assert row(rows, "diorama").state == "ok"
    assert row(rows, "diorama").required
    voc = row(rows, "voc")
    assert (voc.state, voc.required) == ("missing", False)
    assert "OVSS_DATA is not set" in voc.detail
    assert voc.command == 'export OVSS_DATA="$HOME/data" && ovss data download voc'


def test_data_set_on_the_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_voc(tmp_path / "shelf" / "VOC2012", 3)
    monkeypatch.setenv("OVSS_DATA", str(tmp_path / "shelf"))
    found = row(data_rows(), "voc")
    assert (found.state, found.detail) == (
        "ok",
        f"3 images in val, {root}; 1449 are usual",
    )
    (root / "SegmentationClass" / "img_0001.png").unlink()
    (root / "JPEGImages" / "img_0001.jpg").unlink()
    (root / "JPEGImages" / "img_0002.jpg").unlink()
    found = row(data_rows(), "voc")
    assert found.state == "broken"
    assert "lacks images or masks of 2 of 3 in val" in found.detail
    assert found.command == "ovss data download voc"


def test_labels_that_are_in_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(tmp_path / "coco", maps=False)
    monkeypatch.setenv("OVSS_DATA", str(tmp_path))
    assert row(data_rows(), "coco-stuff").state == "missing"
    assert row(data_rows(), "coco-object-instances").state == "ok"
    (tmp_path / "coco" / "val2017" / "000000000002.jpg").unlink()
    found = row(data_rows(), "coco-object-instances")
    assert "lacks images or masks of 1 of 3 in val" in found.detail


def test_demo_data_that_are_missing(tmp_path: Path) -> None:
    found = row(data_rows({"diorama": partial(VOCDataset, tmp_path)}), "diorama")
    assert (found.state, found.required) == ("missing", True)
    assert found.command.startswith("ovss diorama make --split val --n 200 --out ")
