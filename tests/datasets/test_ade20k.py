"""ADE20K: 0 is not scored, nothing is shifted, the names are the official ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.protocols.protocol import get_protocol
from support.helpers import SHARED, needs_realdata
from support.small_data import save_label, write_ade


def test_other_objects_are_void(tmp_path: Path) -> None:
    """Official label 0 is no class; 150 stays 150 and nothing runs over at 255."""
    data = load_dataset("ade20k", write_ade(tmp_path / "ade" / "ADEChallengeData2016").parents[1])
    label = data.label("ADE_val_00000001")
    assert label.reshape(-1)[:3].tolist() == [255, 1, 150]
    assert get_protocol("pnp-fixed").scored_classes(data) == tuple(range(1, 151))
    assert data.covered


def test_labels_that_were_shifted_already_are_refused(tmp_path: Path) -> None:
    data = load_dataset("ade20k", write_ade(tmp_path, [0, 149, 255]))
    with pytest.raises(OvssError, match="holds 255, but the label files of ade20k hold 0 to 150"):
        data.label("ADE_val_00000001")


def test_full_release_colours_are_refused(tmp_path: Path) -> None:
    """The full data set's own label images code classes in red and green."""
    from PIL import Image

    data = load_dataset("ade20k", write_ade(tmp_path))
    Image.new("RGB", (24, 16)).save(tmp_path / "annotations/validation/ADE_val_00000001.png")
    with pytest.raises(OvssError, match="stores class numbers"):
        data.label("ADE_val_00000001")


def test_things_and_stuff() -> None:
    from ovsslib.datasets.ade20k import ADE20K

    assert len(ADE20K.things) == 100
    things = {ADE20K.classes[k - 1] for k in ADE20K.things}
    assert {"bed", "door", "person", "flag", "trade name"} < things
    assert not things & {"wall", "sky", "lake", "shower", "crt screen", "path"}


def test_the_split_is_all_images_and_labels(tmp_path: Path) -> None:
    write_ade(tmp_path, n=3)
    (tmp_path / "annotations/validation/ADE_val_00000002.png").unlink()
    save_label(tmp_path / "annotations/validation/ADE_val_00000009.png", [1])
    data = load_dataset("ade20k", tmp_path)
    assert data.ids == tuple(f"ADE_val_{number:08d}" for number in (1, 2, 3, 9))
    with pytest.raises(OvssError, match=r"00000002\.png: the label file is missing"):
        data.label("ADE_val_00000002")
    with pytest.raises(OvssError, match=r"00000009\.jpg: no such file"):
        data.image("ADE_val_00000009")


def test_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="has no split 'validation'; there are val, train"):
        load_dataset("ade20k", tmp_path, "validation")
    with pytest.raises(OvssError, match="ovss data download ade20k"):
        load_dataset("ade20k", tmp_path)
    (tmp_path / "annotations" / "validation").mkdir(parents=True)
    with pytest.raises(OvssError, match="validation: no such folder"):
        load_dataset("ade20k", tmp_path)
    (tmp_path / "images" / "validation").mkdir(parents=True)
    with pytest.raises(OvssError, match="holds no image"):
        load_dataset("ade20k", tmp_path)


@needs_realdata
def test_real_label() -> None:
    data = load_dataset("ade20k", SHARED)
    (name,) = data.ids
    label = data.label(name)
    assert data.image(name).size == label.shape[::-1]
    seen = {data.classes[k - 1] for k in np.unique(label).tolist() if k != 255}
    assert {"building", "sky", "tree", "grass"} < seen
    assert 0 not in label
