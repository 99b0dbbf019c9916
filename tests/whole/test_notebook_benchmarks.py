"""The notebook of full benchmarks through papermill: it resumes, and shows what was unreadable."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from ovsslib.book.run import execute
from ovsslib.errors import OvssError
from support.helpers import ROOT, write_voc

NOTEBOOK = ROOT / "notebooks" / "07_full_benchmarks.ipynb"
QUICK = {"layer": 1, "head": None, "rounds": 2, "patches_per_round": 5, "crf_iterations": 2}


def outputs(path: Path) -> dict[str, str]:
    """First tag of a cell -> all that it says, figures by their alternative text."""
    said: dict[str, str] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            texts = [cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")]
            for output in cell.outputs:
                data = output.get("data", {})
                texts += [output.get("text", ""), output.get("evalue", "")]
                texts += [data.get("text/markdown", ""), data.get("text/plain", "")]
            tags = [t for t in cell.metadata.get("tags", []) if not t.endswith("-input")]
            said[tags[0]] = "\n".join(filter(None, texts))
    return said


@pytest.mark.slow
def test_it_resumes_and_tells_what_cannot_be_read(tiny: Path, tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", 5)
    damaged = root / "JPEGImages" / "img_0002.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    given = {
        "vlm": str(tiny),
        "config": json.dumps(QUICK),
        "data_root": str(root),
        "dataset": "voc21",
        "limit": 4,
        "ablation": "oracle",
        "workers": 0,
        "shard_size": 2,
        "store": str(tmp_path / "shards"),
        "out": str(tmp_path / "results"),
        "device": "cpu",
    }
    pictures, first = tmp_path / "figures", tmp_path / "first"
    problem = r"OvssError: 1 images could not be read .*, 0 are accepted; .*allow_bad=1"
    with pytest.raises(OvssError, match=problem):
        execute([NOTEBOOK], first, given, figures=pictures, jobs=1)
    said = outputs(first / NOTEBOOK.name)
    assert "img_0002" in said["unreadable"]
    assert str(tmp_path) not in said["unreadable"]
    assert "shards are there already" not in said["run"]
    stored = {p.name: json.loads(p.read_text()) for p in (tmp_path / "results").glob("*.json")}
    assert len(stored) == 9  # the run, which is the whole method, and eight steps
    assert {len(record["failed"]) for record in stored.values()} == {1}
    assert {path.stem for path in pictures.glob("*.png")} == {
        f"benchmark-{name}" for name in ("classes", "confusions", "examples", "seconds", "stages")
    }

    second = tmp_path / "second"
    given |= {"allow_bad": 1, "dask": ""}
    execute([NOTEBOOK], second, given, figures=pictures, jobs=1)
    said = outputs(second / NOTEBOOK.name)
    # The shard that lacks an image is computed again: it might have been mended.
    assert "1 of 2 shards are there already" in said["run"]
    assert "1 of 2 shards are there already" in said["steps"]
    for name, title in (("figures", "boundary mIoU"), ("protocol", "background_plane")):
        assert title in said[name]
    assert "labelled as" in said["pairs"]
    assert "background" in said["pairs"]
    assert "best img_" in said["pictures"]
    assert "salience" in said["stages"]
    for path in (tmp_path / "results").glob("*.json"):
        assert json.loads(path.read_text())["metrics"] == stored[path.name]["metrics"]


@pytest.mark.slow
def test_a_class_filter_and_no_steps(tiny: Path, tmp_path: Path) -> None:
    given = {
        "vlm": str(tiny),
        "config": QUICK,
        "class_filter": "all",
        "protocol": "tcl",
        "limit": 1,
        "ablation": "",
        "workers": 1,
        "dask": "local",
        "store": str(tmp_path / "shards"),
        "out": str(tmp_path / "results"),
    }
    execute([NOTEBOOK], tmp_path / "out", given, figures=tmp_path / "figures", jobs=1)
    said = outputs(tmp_path / "out" / NOTEBOOK.name)
    assert "Dask dashboard: http" in said["run"]
    assert "filters: none" in said["steps"]
    assert "window.crop" in said["protocol"]
    assert not (tmp_path / "figures" / "benchmark-stages.png").exists()
