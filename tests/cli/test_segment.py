"""`ovss segment`: the files it writes and the libraries it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovsslib.cli.segment import output_stems
from support.helpers import QUICK_OPTIONS as SMALL
from support.helpers import one_error, ovss, write_photo


def test_segment_writes_three_files_per_image(tmp_path: Path, tiny: Path) -> None:
    photo = write_photo(tmp_path / "photo.jpg", (64, 48))
    done = ovss(
        "segment", photo, "--classes", "house, traffic light", "--vlm", tiny, "--out",
        tmp_path / "out", *SMALL,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["photo.json", "photo_labels.png", "photo_overlay.png"]
    with Image.open(tmp_path / "out" / "photo_labels.png") as stored:
        assert stored.mode == "P"
        labels = np.asarray(stored)
    assert labels.shape == (48, 64)
    assert set(np.unique(labels)) <= {0, 1, 2}
    record = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert [row["name"] for row in record["classes"]] == ["house", "traffic light"]
    assert [row["label"] for row in record["classes"]] == [1, 2]
    for row in record["classes"]:
        assert row["share"] == pytest.approx((labels == row["label"]).mean())
        assert 0 <= row["score"] <= 1
    assert record["background"] == pytest.approx((labels == 0).mean())
    assert record["size"] == [64, 48]
    assert record["image"] == "photo.jpg"
    assert record["config"]["layer"] == 1
    assert record["config"]["head"] is None
    assert 0 <= record["match"] <= 1
    assert set(record["provenance"]) >= {"git", "packages", "time", "device", "cpus"}
    assert str(tmp_path) not in json.dumps(record)


def test_folders_globs_and_equal_names(tmp_path: Path, tiny: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    write_photo(tmp_path / "a" / "x.jpg", seed=1)
    write_photo(tmp_path / "a" / "y.png", seed=2)
    write_photo(tmp_path / "b" / "x.png", seed=3)
    done = ovss(
        "segment", tmp_path / "a", tmp_path / "b" / "*.png", "-c", "car", "--vlm", tiny,
        "-o", tmp_path / "out", *SMALL,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    stems = sorted(p.stem for p in (tmp_path / "out").glob("*.json"))
    assert stems == ["x", "x-2", "y"]
    assert "x-2" in done.stderr
    records = [json.loads((tmp_path / "out" / f"{s}.json").read_text()) for s in ("x", "x-2")]
    assert [record["image"] for record in records] == ["x.jpg", "x.png"]


def test_results_beside_the_images_are_not_segmented(tmp_path: Path, tiny: Path) -> None:
    write_photo(tmp_path / "x.jpg")
    for _ in range(2):
        done = ovss("segment", tmp_path, "-c", "car", "--vlm", tiny, "-o", tmp_path, *SMALL)
        assert done.exit_code == 0, done.output
        assert "1 of 1 images" in done.output
    assert len(list(tmp_path.iterdir())) == 4


LABELME = '{"version": "5.4", "shapes": [], "imagePath": "x.jpg"}'
FOREIGN = {
    "x.json": LABELME.encode(),
    "x_labels.png": b"a mask drawn by hand",
    "x_overlay.png": b"",
}


@pytest.mark.parametrize("name", [*FOREIGN, "a link", "a pipe"])
def test_files_of_others_are_not_replaced(tmp_path: Path, tiny: Path, name: str) -> None:
    """labelme keeps `<stem>.json` beside the image."""
    photos = [write_photo(tmp_path / f"{stem}.jpg") for stem in ("w", "x", "y")]
    foreign = tmp_path / (name if name in FOREIGN else "x.json")
    if name == "a link":
        foreign.symlink_to(tmp_path / "nowhere")
    elif name == "a pipe":
        os.mkfifo(foreign)
    else:
        foreign.write_bytes(FOREIGN[name])
    words = ["segment", *photos, "-c", "car", "--vlm", tiny, "-o", tmp_path, *SMALL]
    for _ in range(2):  # called again, it replaces its own files as ever
        done = ovss(*words)
        assert "2 of 3 images" in done.stdout
        one_error(done, 1, foreign.name, "x.jpg is left out", "another --out", "--overwrite")
    assert name not in FOREIGN or foreign.read_bytes() == FOREIGN[name]
    assert (tmp_path / "w.json").is_file()
    assert (tmp_path / "y.json").is_file()
    assert len(list(tmp_path.glob("x*"))) == 2
    if name == "a pipe":
        return
    done = ovss(*words, "--overwrite")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "x.json").read_text())["image"] == "x.jpg"


def test_a_mask_corrected_by_hand_is_kept(tmp_path: Path, tiny: Path) -> None:
    photo, mask = write_photo(tmp_path / "x.jpg"), tmp_path / "x_labels.png"
    words = ["segment", photo, "-c", "car", "--vlm", tiny, "-o", tmp_path, *SMALL]
    assert ovss(*words).exit_code == 0
    with Image.open(mask) as image:
        corrected = image.copy()
    corrected.save(mask)  # as a paint program does: without our mark
    one_error(ovss(*words), 1, "x_labels.png")


def test_an_image_called_like_a_result_is_an_image(tmp_path: Path, tiny: Path) -> None:
    """Also where an annotation beside it makes it look like one."""
    write_photo(tmp_path / "x_labels.png")
    (tmp_path / "x.json").write_text(LABELME)
    done = ovss("segment", tmp_path, "-c", "car", "--vlm", tiny, "-o", tmp_path / "o", *SMALL)
    assert (tmp_path / "o" / "x_labels.json").is_file(), done.output


def test_output_stems_never_meet() -> None:
    paths = [Path(p) for p in ("a/x.jpg", "b/x.jpg", "x-2.jpg", "X.png", "c/x-2.jpg")]
    stems = output_stems(paths)
    assert len({stem.casefold() for stem in stems}) == len(paths)
    assert stems[0] == "x"
    assert stems[2] == "x-2"
    long = [Path(f"{folder}/{251 * 'x'}.jpg") for folder in "ab"] + [Path(130 * "ä" + ".jpg")]
    stems = output_stems(long)
    assert len(set(stems)) == 3
    assert all(len(f"{stem}_overlay.png".encode()) <= 255 for stem in stems)
    assert stems[2] == 115 * "ä"


def test_the_installed_command_writes_nothing_to_standard_error(tmp_path: Path, tiny: Path) -> None:
    photo = write_photo(tmp_path / "photo.jpg", (200, 150))
    done = subprocess.run(
        [sys.executable, "-m", "ovsslib", "segment", photo, "-c", "house, grass, sky", "--vlm",
         tiny, "--out", tmp_path / "out", *SMALL],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_segment_imports_only_what_it_needs(tmp_path: Path, tiny: Path) -> None:
    photo = write_photo(tmp_path / "photo.jpg")
    arguments = ["segment", photo, "-c", "house", "--vlm", tiny, "--out", tmp_path / "o", *SMALL]
    # sympy and torch._dynamo come with torch's compiler, which a stray operation can wake up.
    heavy = {"matplotlib", "pandas", "pyarrow", "scipy", "transformers", "torchvision"}
    heavy |= {"open_clip", "timm", "huggingface_hub", "sympy", "torch._dynamo"}
    code = (
        "import sys; from ovsslib.cli.main import app; from typer.testing import CliRunner; "
        f"print(CliRunner().invoke(app, {[str(a) for a in arguments]}).exit_code, "
        f"{heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 set()"
