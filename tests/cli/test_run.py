"""`ovss run`: what it prints and stores, and images that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from support.helpers import QUICK_OPTIONS as SMALL
from support.helpers import ovss, write_voc


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
