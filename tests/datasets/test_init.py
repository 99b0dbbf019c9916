"""VOC's layout and Diorama: read from small files the tests write, and from real samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovsslib.datasets import ALIASES, FILES, list_datasets, load_dataset
from ovsslib.datasets.base import read_split
from ovsslib.datasets.diorama import SHIPPED
from ovsslib.datasets.folder import read_label
from ovsslib.datasets.voc import VOC_CLASSES
from ovsslib.errors import OvssError
from ovsslib.io.palette import voc_palette
from ovsslib.miniature.diorama.classes import CLASSES, THINGS
from ovsslib.protocols.protocol import get_protocol
from support.helpers import SHARED, needs_realdata, write_photo, write_voc


def test_reads_what_was_written(tmp_path: Path) -> None:
    write_voc(tmp_path, 3)
    data = load_dataset("voc", tmp_path)
    assert data.ids == ("img_0000", "img_0001", "img_0002")
    assert data.image("img_0001").size == (48, 36)
    label = data.label("img_0001")
    assert label.shape == (36, 48)
    assert label.dtype == np.uint8
    assert (label[:, 16][:18] == 255).all()
    assert len(set(np.unique(label)) - {0, 255}) == 2


def test_palette_and_grey_labels_are_the_same(tmp_path: Path) -> None:
    """Both store the class number; converting a palette PNG to grey would give its luminance."""
    values = np.array([[0, 1, 15, 20, 255]], np.uint8)
    grey = Image.fromarray(values)
    grey.save(tmp_path / "l.png")
    grey.putpalette(voc_palette().tobytes())
    grey.save(tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").mode == "P"
    for name in ("l.png", "p.png"):
        assert (read_label(tmp_path / name) == values).all()


def test_label_in_colours_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "rgb.png")
    with pytest.raises(OvssError, match=r"rgb\.png: a label PNG stores class numbers"):
        read_label(tmp_path / "rgb.png")


def test_broken_or_foreign_labels(tmp_path: Path) -> None:
    write_voc(tmp_path, 2)
    data = load_dataset("voc", tmp_path)
    masks = tmp_path / "SegmentationClass"
    Image.fromarray(np.full((4, 4), 21, np.uint8)).save(masks / "img_0000.png")
    with pytest.raises(OvssError, match="holds 21, but the label files of voc21 hold 0 to 20"):
        data.label("img_0000")
    (masks / "img_0001.png").write_bytes((masks / "img_0001.png").read_bytes()[:60])
    with pytest.raises(OvssError, match="cannot be read"):
        data.label("img_0001")
    (masks / "img_0001.png").unlink()
    with pytest.raises(OvssError, match="the label file is missing"):
        data.label("img_0001")
    (tmp_path / "JPEGImages" / "img_0000.jpg").unlink()
    with pytest.raises(OvssError, match="no such file"):
        data.image("img_0000")


def test_missing_root_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVSS_DATA", raising=False)
    with pytest.raises(OvssError, match="OVSS_DATA is not set"):
        load_dataset("voc")
    monkeypatch.setenv("OVSS_DATA", str(tmp_path))
    with pytest.raises(OvssError, match=r"holds no VOCdevkit/VOC2012"):
        load_dataset("voc")
    with pytest.raises(OvssError, match="no such folder"):
        load_dataset("voc", tmp_path / "gone")
    with pytest.raises(OvssError, match="holds no SegmentationClass"):
        load_dataset("voc", tmp_path)
    write_voc(tmp_path, 2)
    with pytest.raises(OvssError, match="no such split; there are val"):
        load_dataset("voc", tmp_path, "train")


def test_unknown_data_set_names_the_nearest() -> None:
    with pytest.raises(OvssError, match="did you mean 'diorama'"):
        load_dataset("dioramma")
    with pytest.raises(OvssError, match="did you mean 'context59'"):
        load_dataset("context58")
    assert set(ALIASES.values()) < set(list_datasets())
    assert set(FILES) <= set(list_datasets()) | set(ALIASES)


def test_root_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", 1)
    monkeypatch.setenv("OVSS_DATA", str(tmp_path))
    assert load_dataset("voc").ids == ("img_0000",)
    write_voc(tmp_path / "diorama", 2)
    assert len(load_dataset("diorama").ids) == 2


def test_a_voc_folder_is_not_taken_for_diorama(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", 1)
    monkeypatch.setenv("OVSS_DATA", str(tmp_path))
    assert load_dataset("diorama").root == SHIPPED


def test_split_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n\n y \r\n")
    assert read_split(tmp_path / "a.txt") == ("x", "y")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(OvssError, match="is empty"):
        read_split(tmp_path / "empty.txt")
    (tmp_path / "twice.txt").write_text("x\ny\nx\n")
    with pytest.raises(OvssError, match="x is listed twice"):
        read_split(tmp_path / "twice.txt")


def test_class_lists() -> None:
    assert len(VOC_CLASSES) == 20
    assert VOC_CLASSES[0] == "aeroplane"
    assert VOC_CLASSES[14] == "person"


def test_diorama_things_and_stuff(tmp_path: Path) -> None:
    write_voc(tmp_path, 1)
    data = load_dataset("diorama", tmp_path)
    assert data.classes == CLASSES
    assert {data.classes[k - 1] for k in data.things} == set(THINGS)
    assert data.covered
    assert not load_dataset("voc", tmp_path).covered


def test_the_picture_is_upright_and_rgb(tmp_path: Path) -> None:
    write_voc(tmp_path, 1)
    grey = Image.open(write_photo(tmp_path / "grey.png")).convert("L")
    grey.save(tmp_path / "JPEGImages" / "img_0000.jpg")
    assert load_dataset("voc", tmp_path).image("img_0000").mode == "RGB"


def test_background_is_a_class_or_void(tmp_path: Path) -> None:
    """VOC 20 ignores what VOC 21 calls background; void stays void and no class moves."""
    write_voc(tmp_path, 1)
    with_it, without = load_dataset("voc21", tmp_path), load_dataset("voc20", tmp_path)
    assert load_dataset("voc", tmp_path).name == with_it.name == "voc21"
    assert with_it.classes == without.classes
    assert (with_it.background, without.background) == (True, False)
    label = with_it.label("img_0000")
    assert set(np.unique(label)) > {0, 255}
    assert (without.label("img_0000") == np.where(label == 0, 255, label)).all()
    scored = get_protocol("pnp-fixed").scored_classes
    assert scored(with_it) == tuple(range(21))
    assert scored(without) == tuple(range(1, 21))


def test_the_split_is_the_official_file(tmp_path: Path) -> None:
    """A val.txt beside the images, as the released code reads, is another list."""
    write_voc(tmp_path, 3)
    (tmp_path / "val.txt").write_text("img_0002\n")
    assert len(load_dataset("voc", tmp_path).ids) == 3


@needs_realdata
def test_real_voc_labels() -> None:
    data = load_dataset("voc", SHARED / "VOCdevkit")
    assert set(data.ids) == {"2007_000129", "2011_000003"}
    values = {name: set(np.unique(data.label(name)).tolist()) for name in data.ids}
    assert values == {"2007_000129": {0, 2, 15, 255}, "2011_000003": {0, 5, 15, 255}}
    for name in data.ids:
        assert data.image(name).size == data.label(name).shape[::-1]


@pytest.mark.parametrize(("split", "n"), [("val", 200), ("tune", 100)])
def test_shipped_diorama(split: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVSS_DATA", raising=False)
    data = load_dataset("diorama", split=split)
    assert len(data.ids) == n
    seen: set[int] = set()
    for name in data.ids:
        label = data.label(name)
        assert data.image(name).size == label.shape[::-1]
        seen |= set(np.unique(label).tolist())
    assert seen == set(range(21)) | {255}
