"""Official forms become the labels that are read; sources stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask
from scipy.io import savemat

from ovsslib.datasets import load_dataset
from ovsslib.datasets.context import CONTEXT_CLASSES, CONTEXT_IDS
from ovsslib.datasets.convert import convert_coco_object, convert_context
from ovsslib.errors import OvssError
from ovsslib.io.class_names import class_names
from support.helpers import SHARED, needs_realdata
from support.small_data import SIZE, annotation, photo, rectangle, save_label, write_coco

WIDTH, HEIGHT = SIZE
TRAIN, VAL, OTHER = "2008_000001", "2008_000002", "2008_000003"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """VOC 2010 with two images and the main challenge's lists, which name a third."""
    root = tmp_path / "VOCdevkit" / "VOC2010"
    for name in (TRAIN, VAL):
        photo(root / "JPEGImages" / f"{name}.jpg")
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text(f"{TRAIN}\n")
    (lists / "val.txt").write_text(f"{VAL}\n{OTHER}\n")
    return root


def tiled(values: list[int]) -> np.ndarray:
    return np.resize(np.array(values, np.uint16), (HEIGHT, WIDTH))


def write_mats(root: Path, values: list[int]) -> Path:
    folder = root / "trainval"
    folder.mkdir()
    for name in (TRAIN, VAL):
        savemat(folder / f"{name}.mat", {"LabelMap": tiled(values)})
    return folder


def detail(root: Path, category: int = 284) -> Path:
    """PASCAL in Detail's file: a person (id 284) over grass (187), in two images."""
    low, high = np.zeros((HEIGHT, WIDTH), np.uint8, "F"), np.zeros((HEIGHT, WIDTH), np.uint8, "F")
    low[8:], high[4:10, 4:10] = 1, 1
    codes = []
    for drawn in (low, high):
        code = mask.encode(drawn)
        codes.append({"size": list(code["size"]), "counts": code["counts"].decode()})
    images, annos = [], []
    for number, (name, phase) in enumerate(((TRAIN, "train"), (VAL, "val")), 1):
        images.append(
            {
                "image_id": number,
                "file_name": f"{name}.jpg",
                "phase": phase,
                "height": HEIGHT,
                "width": WIDTH,
            }
        )
        for kind, code in zip((187, category), codes, strict=True):
            annos.append({"image_id": number, "category_id": kind, "segmentation": code})
    path = root / "trainval_merged.json"
    path.write_text(json.dumps({"images": images, "annos_segmentation": annos}))
    return path


def test_mat_files(root: Path) -> None:
    """Of the 459 classes those outside the 59 become background."""
    folder = write_mats(root, [2, 1, 284, 458, 459, 0])
    before = {path: path.read_bytes() for path in folder.iterdir()}
    target, count = convert_context(root.parents[1])
    assert (target, count) == (root / "SegmentationClassContext", 2)
    data = load_dataset("context60", root)
    assert data.ids == (VAL,)
    assert data.label(VAL).reshape(-1)[:6].tolist() == [1, 0, 37, 59, 0, 0]
    assert load_dataset("context60", root, "train").ids == (TRAIN,)
    with Image.open(target / f"{VAL}.png") as stored:
        assert stored.mode == "L"
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_every_class_of_the_mat_files(root: Path) -> None:
    write_mats(root, list(CONTEXT_IDS))
    convert_context(root)
    assert load_dataset("context60", root).label(VAL).reshape(-1)[:60].tolist() == list(range(60))


def test_run_length_codes(root: Path) -> None:
    detail(root)
    convert_context(root)
    data = load_dataset("context60", root)
    label = data.label(VAL)
    names = {"background" if k == 0 else CONTEXT_CLASSES[k - 1] for k in np.unique(label)}
    assert names == {"background", "grass", "person"}
    assert CONTEXT_CLASSES[label[9, 5] - 1] == "person"
    assert CONTEXT_CLASSES[label[9, 12] - 1] == "grass"
    assert (data.ids, load_dataset("context60", root, "train").ids) == ((VAL,), (TRAIN,))


def test_a_class_outside_the_59_is_another_file(root: Path) -> None:
    detail(root, category=3)
    with pytest.raises(OvssError, match="has category 3, which is not one of the 59"):
        convert_context(root)
    assert not (root / "SegmentationClassContext").exists()


def test_images_in_the_other_order(root: Path) -> None:
    """The same names before and after, under other numbers; not one after another in place."""
    folder = root / "59_context_labels"
    for name in (TRAIN, VAL):
        stored = save_label(folder / f"{name}.png", list(range(60)))
    convert_context(root)
    label = load_dataset("context60", root).label(VAL)
    theirs = class_names("context59_voc_first")
    same = {"diningtable": "table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
    same |= {"clothes": "cloth", "bedcloth": "bedclothes"}
    for number, name in enumerate(theirs, 1):
        here = CONTEXT_CLASSES[int(label[stored == number][0]) - 1]
        assert same.get(name, name) == here
    assert (label[stored == 0] == 0).all()
    save_label(folder / f"{VAL}.png", [60])
    with pytest.raises(OvssError, match="holds 60, but 59_context_labels hold 0 to 59"):
        convert_context(root)


def test_a_damaged_label_does_not_end_a_conversion(root: Path, tmp_path: Path) -> None:
    folder = write_mats(root, [2])
    (folder / f"{TRAIN}.mat").write_bytes(b"no more")
    with pytest.raises(OvssError, match=rf"{TRAIN}\.mat: .*\(1 of 2 labels are made"):
        convert_context(root)
    assert load_dataset("context60", root).label(VAL).any()
    coco = write_coco(tmp_path / "coco", values=[0, 91])
    (coco / "stuffthingmaps" / "val2017" / "000000000001.png").unlink()
    (coco / "val2017" / "000000000003.jpg").unlink()
    with pytest.raises(OvssError, match=r"0001\.png: .* is missing.*\(2 of 3 labels are made"):
        convert_coco_object(coco)
    made = sorted(path.name[:12] for path in (coco / "annotations" / "val2017").iterdir())
    assert made == ["000000000002", "000000000003"]


def test_the_source_is_not_overwritten(root: Path) -> None:
    folder = root / "SegmentationClassContext"
    save_label(folder / f"{VAL}.png", [15])
    with pytest.raises(OvssError, match="would be overwritten"):
        convert_context(root, folder)


def test_what_is_missing_or_damaged(root: Path) -> None:
    with pytest.raises(OvssError, match="ovss data download context"):
        convert_context(root)
    (root / "empty").mkdir()
    with pytest.raises(OvssError, match=r"neither trainval_merged\.json nor"):
        convert_context(root, root / "empty")
    folder = write_mats(root, [2])
    (folder / f"{TRAIN}.mat").write_bytes(b"MATLAB 5.0 and no more")
    with pytest.raises(OvssError, match=rf"{TRAIN}\.mat: the label map cannot be read"):
        convert_context(root)
    path = detail(root)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(OvssError, match="incomplete"):
        convert_context(root)
    path.write_text(json.dumps({"images": []}))
    with pytest.raises(OvssError, match="not PASCAL in Detail's"):
        convert_context(root)


def test_coco_object_from_maps(tmp_path: Path) -> None:
    """What GroupViT's conversion gives, beside the official maps, which stay."""
    write_coco(tmp_path, values=[0, 12, 89, 91, 255])
    official = tmp_path / "stuffthingmaps" / "val2017" / "000000000001.png"
    before = official.read_bytes()
    target, count = convert_coco_object(tmp_path)
    assert (target, count) == (tmp_path / "annotations" / "val2017", 3)
    assert official.read_bytes() == before
    with Image.open(target / "000000000001_instanceTrainIds.png") as stored:
        assert np.asarray(stored).reshape(-1)[:5].tolist() == [1, 12, 80, 0, 0]
    want = load_dataset("coco-object81", tmp_path).label("000000000001")
    for path in official.parent.iterdir():
        path.unlink()
    data = load_dataset("coco-object81", tmp_path)
    assert data.label_path("000000000001") == target / "000000000001_instanceTrainIds.png"
    assert (data.label("000000000001") == want).all()
    # Converted maps are no source for another conversion.
    with pytest.raises(OvssError, match="no pixel maps"):
        convert_coco_object(tmp_path)


def test_coco_object_from_instances(tmp_path: Path) -> None:
    write_coco(tmp_path, [annotation(1, 90, [rectangle(0, 0, 5, 5)])], values=[0])
    seen = []

    def progress(items, description, total):  # type: ignore[no-untyped-def]
        for item in items:
            seen.append((item, total))
            yield item

    target, count = convert_coco_object(tmp_path, "instances", progress=progress)
    assert target == tmp_path / "instances" / "annotations" / "val2017"
    assert count == len(seen) == 3
    with Image.open(target / "000000000001_instanceTrainIds.png") as stored:
        assert set(np.unique(np.asarray(stored))) == {0, 80}
    with Image.open(target / "000000000002_instanceTrainIds.png") as stored:
        assert not np.asarray(stored).any()
    target, _ = convert_coco_object(tmp_path, "instances", tmp_path / "elsewhere")
    assert target.is_relative_to(tmp_path / "elsewhere")


@needs_realdata
def test_real_maps(tmp_path: Path) -> None:
    data = load_dataset("coco-object81", SHARED)
    names = ("000000000139", "000000000785")
    for name in names:
        for folder, ending in (("images", ".jpg"), ("stuffthingmaps", ".png")):
            copy = tmp_path / folder / "val2017" / f"{name}{ending}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((SHARED / "coco" / folder / "val2017" / copy.name).read_bytes())
    target, count = convert_coco_object(tmp_path)
    assert count == 2
    for name in names:
        with Image.open(target / f"{name}_instanceTrainIds.png") as stored:
            assert (np.asarray(stored) == data.label(name)).all()
