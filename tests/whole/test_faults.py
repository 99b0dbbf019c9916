"""Bad input through the real command: one clear line, the rest is done, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from conftest import SMALL
from ovsslib.cli.main import app
from support.helpers import one_error, write_photo, write_voc


def works(done: object, tmp_path: Path, stem: str, size: tuple[int, int]) -> dict:
    """Status 0, nothing on standard error, and a label map of the image's upright size."""
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    with Image.open(tmp_path / "out" / f"{stem}_labels.png") as labels:
        assert labels.size == size
    return json.loads((tmp_path / "out" / f"{stem}.json").read_text())


# Images


def test_missing_file(segment: Callable, tmp_path: Path) -> None:
    one_error(segment(tmp_path / "gone.jpg"), 1, "gone.jpg", "no such file")


def test_text_named_jpg(segment: Callable, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    one_error(segment(tmp_path / "text.jpg"), 1, "text.jpg", "not an image")


def test_truncated_jpeg(segment: Callable, tmp_path: Path) -> None:
    data = write_photo(tmp_path / "cut.jpg", (200, 150)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 3])
    one_error(segment(tmp_path / "cut.jpg"), 1, "cut.jpg", "cannot be read")


def test_the_rest_is_done(segment: Callable, tmp_path: Path) -> None:
    good = [write_photo(tmp_path / f"{name}.jpg") for name in ("a", "c")]
    (tmp_path / "b.jpg").write_text("")
    done = segment(good[0], tmp_path / "b.jpg", good[1])
    one_error(done, 1, "b.jpg")
    assert "2 of 3 images" in done.stdout
    assert sorted(p.stem for p in (tmp_path / "out").glob("*.json")) == ["a", "c"]


def test_one_pixel(segment: Callable, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), "green").save(tmp_path / "dot.png")
    works(segment(tmp_path / "dot.png"), tmp_path, "dot", (1, 1))


def test_one_pixel_wide(segment: Callable, tmp_path: Path) -> None:
    Image.new("RGB", (1, 300), "green").save(tmp_path / "line.png")
    works(segment(tmp_path / "line.png"), tmp_path, "line", (1, 300))


def test_twelve_megapixels(segment: Callable, tmp_path: Path) -> None:
    """Refined at a bounded size: at full size the CRF alone would take gigabytes and minutes."""
    write_photo(tmp_path / "big.jpg", (4000, 3000))
    done = segment(tmp_path / "big.jpg")
    assert done.exit_code == 0, done.stderr
    with Image.open(tmp_path / "out" / "big_labels.png") as labels:
        assert labels.size == (4000, 3000)


def test_16_bit_png(segment: Callable, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    works(segment(tmp_path / "deep.png"), tmp_path, "deep", (40, 30))


def test_cmyk_jpeg(segment: Callable, tmp_path: Path) -> None:
    photo = Image.open(write_photo(tmp_path / "p.png", (40, 30)))
    photo.convert("CMYK").save(tmp_path / "ink.jpg")
    works(segment(tmp_path / "ink.jpg"), tmp_path, "ink", (40, 30))


def test_alpha(segment: Callable, tmp_path: Path) -> None:
    photo = Image.open(write_photo(tmp_path / "p.png", (40, 30))).convert("RGBA")
    photo.putalpha(Image.linear_gradient("L").resize((40, 30)))
    photo.save(tmp_path / "clear.png")
    works(segment(tmp_path / "clear.png"), tmp_path, "clear", (40, 30))


def test_exif_rotated(segment: Callable, tmp_path: Path) -> None:
    """The label map is upright, and the same as that of the upright image."""
    upright = Image.open(write_photo(tmp_path / "up.png", (40, 30)))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "turned.png", exif=exif)
    assert Image.open(tmp_path / "turned.png").size == (30, 40)
    works(segment(tmp_path / "up.png", tmp_path / "turned.png"), tmp_path, "turned", (40, 30))
    labels = [
        np.asarray(Image.open(tmp_path / "out" / f"{s}_labels.png")) for s in ("up", "turned")
    ]
    assert (labels[0] == labels[1]).all()


# Class names


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("", "the list of classes is empty"),
        ("   ", "the list of classes is empty"),
        ("house,,grass", "class 2 has an empty name"),
        ("house, ", "class 2 has an empty name"),
        ("house, grass, House", "given twice (places 1 and 3)"),
    ],
)
def test_wrong_class_lists(segment: Callable, tmp_path: Path, classes: str, words: str) -> None:
    one_error(segment(write_photo(tmp_path / "a.jpg"), classes=classes), 2, words)
    assert not (tmp_path / "out").exists()


def test_sixty_classes(segment: Callable, tmp_path: Path) -> None:
    """More than one prompt holds: the tiny model's text encoder has 64 positions."""
    names = [f"thing {k}" for k in range(60)]
    photo = write_photo(tmp_path / "a.jpg")
    record = works(segment(photo, classes=", ".join(names)), tmp_path, "a", (64, 48))
    assert [row["name"] for row in record["classes"]] == names
    assert [row["label"] for row in record["classes"]] == list(range(1, 61))


def test_more_classes_than_a_label_png_holds(segment: Callable, tmp_path: Path) -> None:
    names = ", ".join(f"c{k}" for k in range(255))
    one_error(segment(write_photo(tmp_path / "a.jpg"), classes=names), 2, "254 classes")


def test_characters_outside_the_vocabulary(segment: Callable, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg")
    done = segment(photo, photo, classes="house, 樹")
    assert done.exit_code == 0, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ")
    assert "樹" in line
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["classes"][1]["name"] == "樹"


# Settings and models


def test_unknown_preset(segment: Callable, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg")
    one_error(segment(photo, preset="micro-blib"), 2, "preset 'micro-blib'", "'micro-blip'")


def test_unknown_setting(segment: Callable, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg")
    one_error(segment(photo, set="treshold=0.1"), 2, "did you mean 'threshold'")
    one_error(segment(photo, set="threshold=2"), 2, "threshold must be float from 0 to 1")
    one_error(segment(photo, set="crf=maybe"), 2, "crf must be bool")


def test_layer_that_does_not_exist(segment: Callable, tmp_path: Path) -> None:
    one_error(segment(write_photo(tmp_path / "a.jpg"), set="head=9"), 2, "has 1 to 4")


def test_unknown_vlm_and_method(segment: Callable, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg")
    one_error(segment(photo, vlm="micro-blop"), 2, "micro-blop", "did you mean 'micro-blip'")
    one_error(segment(photo, vlm="owner/unheard-of"), 2, "owner/unheard-of", "hf download")
    one_error(segment(photo, method="pnp"), 2, "did you mean 'pnp-ovss'")


@pytest.fixture
def copy(tmp_path: Path, tiny: Path) -> Path:
    """A copy of the model's folder that may be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in tiny.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_checkpoint_file(segment: Callable, tmp_path: Path, copy: Path, name: str) -> None:
    (copy / name).unlink()
    one_error(segment(write_photo(tmp_path / "a.jpg"), vlm=copy), 2, str(copy))


@pytest.mark.parametrize("keep", [4, 0.5])
def test_truncated_safetensors(segment: Callable, tmp_path: Path, copy: Path, keep: float) -> None:
    weights = copy / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    one_error(segment(write_photo(tmp_path / "a.jpg"), vlm=copy), 2, "cannot load", str(copy))


def test_broken_config(segment: Callable, tmp_path: Path, copy: Path) -> None:
    (copy / "config.json").write_text("{")
    one_error(segment(write_photo(tmp_path / "a.jpg"), vlm=copy), 2, "config.json")


# The same for measuring, and the switch that shows where an error comes from


def test_run_without_data(tmp_path: Path, tiny: Path) -> None:
    words = ["run", "--vlm", str(tiny), "--out", str(tmp_path / "out"), *SMALL]
    missing = CliRunner().invoke(app, [*words, "--root", str(tmp_path / "gone")])
    one_error(missing, 2, "no such folder")
    root = str(write_voc(tmp_path / "data", 2))
    for option, value, hint in (
        ("--split", "vall", "there are val"),
        ("--filter", "orcale", "did you mean 'oracle'"),
        ("--protocol", "pnp-fixd", "did you mean 'pnp-fixed'"),
        ("--dataset", "dioramma", "did you mean 'diorama'"),
        ("--set", "background=never", "background is set by the protocol"),
    ):
        one_error(CliRunner().invoke(app, [*words, "--root", root, option, value]), 2, hint)


def test_run_with_no_readable_picture(tmp_path: Path, tiny: Path) -> None:
    root = write_voc(tmp_path / "data", 1)
    (root / "JPEGImages" / "img_0000.jpg").unlink()
    words = ["run", "--vlm", tiny, "--root", root, "--out", tmp_path / "out", *SMALL]
    done = CliRunner().invoke(app, [str(w) for w in words])
    one_error(done, 2, "no image of diorama could be read", "img_0000.jpg")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ovsslib", "regress", "--expected", tmp_path / "gone.json"]
    quiet = subprocess.run(words, capture_output=True, text=True, check=False)
    assert quiet.returncode == 2
    assert quiet.stderr.count("\n") == 1
    loud = subprocess.run([*words, "--debug"], capture_output=True, text=True, check=False)
    assert loud.returncode != 0
    assert "Traceback" in loud.stderr
    assert "OvssError" in loud.stderr


def test_unknown_command_and_option() -> None:
    done = CliRunner().invoke(app, ["segmnt"])
    assert done.exit_code == 2
    assert "segmnt" in done.stderr
    done = CliRunner().invoke(app, ["segment", "--klasses", "x"])
    assert done.exit_code == 2
    assert "Traceback" not in done.output
