"""`ovss run`: what it prints and stores, and images that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from support.helpers import QUICK_OPTIONS as SMALL
from support.helpers import ovss, write_voc
from support.small_data import write_ade, write_coco


def test_run_prints_and_stores(tmp_path: Path, tiny: Path) -> None:
    root = write_voc(tmp_path / "data", 3)
    arguments = ["run", "--root", root, "--vlm", tiny, "--out", tmp_path / "out", *SMALL]
    done = ovss(*arguments)
    assert done.exit_code == 0, done.output
    for words in ("mIoU", "mIoU things", "mIoU stuff", "background IoU", "pixel accuracy"):
        assert words in done.output
    assert "traffic light" in done.output
    as_json = ovss(*arguments, "--json")
    record = json.loads(as_json.stdout)
    (stored,) = (tmp_path / "out").glob("*.json")
    kept = json.loads(stored.read_text())
    assert record["metrics"] == kept["metrics"]
    assert record["protocol"]["name"] == "pnp-fixed"
    assert record["config"]["background"] == "few"
    assert kept["images"] == 3
    table = pd.read_parquet(stored.with_suffix(".images.parquet"))
    assert len(table) == 3 * 21


def test_run_limit(tmp_path: Path, tiny: Path) -> None:
    root = write_voc(tmp_path / "data", 3)
    done = ovss(
        "run", "--root", root, "--vlm", tiny, "--out", tmp_path / "out", "--limit", 2,
        "--filter", "all", "--json", *SMALL,
    )  # fmt: skip
    record = json.loads(done.stdout)
    assert record["images"] == record["limit"] == 2
    assert record["filter"] == "all"


def test_without_a_model_the_method_takes_its_own(tmp_path: Path) -> None:
    words = ["run", "--limit", 1, "--set", "crf=false", "--out", tmp_path]
    assert "pnp-ovss with micro-blip on diorama" in ovss(*words).stdout
    done = ovss("run", "--method", "naclip", "--limit", 1, "--out", tmp_path)
    assert "naclip with micro-clip on diorama" in done.stdout, done.output


COCO, ADE = "stuffthingmaps/val2017/{}.png", "annotations/validation/{}.png"
SETS = {  # data set -> writer, an image's and a label's place, how many images there should be
    "coco-stuff": (write_coco, "val2017/000000000002.jpg", COCO, 5000),
    "coco-object": (write_coco, "val2017/000000000002.jpg", COCO, 5000),
    "ade20k": (write_ade, "images/validation/ADE_val_00000002.jpg", ADE, 2000),
    "voc20": (write_voc, "JPEGImages/img_0001.jpg", "SegmentationClass/{}.png", 1449),
}


@pytest.mark.parametrize("name", SETS)
def test_an_image_that_is_missing_is_named_and_counted(
    tmp_path: Path, tiny: Path, name: str
) -> None:
    """Beside its label it is an error; with its label it is missing in the count."""
    write, image, label, whole = SETS[name]
    root = write(tmp_path / "data", n=3)
    run = ["run", "--dataset", name, "--root", root, "--vlm", tiny, *SMALL, "--set", "crf=false"]
    (root / image).unlink()
    done = ovss(*run, "--out", tmp_path / "one")
    assert done.exit_code == 1
    assert f"(2 of {whole} images" in done.stdout
    assert [line.partition(" ")[0] for line in done.stderr.splitlines()] == ["warning:", "error:"]
    assert f"error: {Path(image).stem}: {image}: no such file" in done.stderr
    (root / label.format(Path(image).stem)).unlink()
    if name == "voc20":  # its split is a list
        (root / "ImageSets/Segmentation/val.txt").write_text("img_0000\nimg_0002\n")
    done = ovss(*run, "--out", tmp_path / "two", "--json")
    assert done.exit_code == 0
    assert f"has 2 images here, {whole} are expected; see ovss data verify" in done.stderr
    record = json.loads(done.stdout)
    assert (record["images"], record["images_expected"]) == (2, whole)
    assert (record["metrics"]["iou_background"] is None) == (name != "coco-object")
    done = ovss(*run, "--out", tmp_path / "three", "--limit", 1)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "(1 of 1 images" in done.stdout


def test_run_names_broken_images_after_the_rest(tmp_path: Path, tiny: Path) -> None:
    root = write_voc(tmp_path / "data", 3)
    (root / "JPEGImages" / "img_0000.jpg").write_text("no image")
    (root / "SegmentationClass" / "img_0002.png").unlink()
    done = ovss("run", "--root", root, "--vlm", tiny, "--out", tmp_path / "out", *SMALL)
    assert done.exit_code == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 2
    assert "img_0000" in lines[0]
    assert "not an image" in lines[0]
    assert "img_0002" in lines[1]
    (stored,) = (tmp_path / "out").glob("*.json")
    record = json.loads(stored.read_text())
    assert record["images"] == 1
    assert set(record["failed"]) == {"img_0000", "img_0002"}
