"""VOC's layout, from small files the tests write and from real samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovsslib.datasets import load_dataset
from ovsslib.datasets.voc import VOC21
from ovsslib.errors import OvssError
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


def test_class_lists() -> None:
    assert len(VOC21.classes) == 20
    assert (VOC21.classes[0], VOC21.classes[14]) == ("aeroplane", "person")


def test_the_image_is_rgb(tmp_path: Path) -> None:
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
