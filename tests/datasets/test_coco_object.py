"""COCO-Object, both ground truths: from pixel maps, and from polygons and run-length codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.coco_object import CocoInstances, decode
from ovsslib.datasets.coco_stuff import THING_IDS
from ovsslib.errors import OvssError
from ovsslib.protocols.protocol import get_protocol
from support.helpers import SHARED, needs_realdata
from support.small_data import SIZE, annotation, photo, rectangle, save_label, write_coco

ONE, TWO, THREE = (f"{number:012d}" for number in (1, 2, 3))
WIDTH, HEIGHT = SIZE


def test_stuff_and_unlabelled_are_background_and_nothing_is_void(tmp_path: Path) -> None:
    write_coco(tmp_path, values=[0, 89, 91, 181, 255])
    with_it, without = (load_dataset(f"coco-object{n}", tmp_path) for n in (81, 80))
    assert with_it.label(ONE).reshape(-1)[:5].tolist() == [1, 80, 0, 0, 0]
    assert without.label(ONE).reshape(-1)[:5].tolist() == [1, 80, 255, 255, 255]
    assert len(with_it.classes) == 80
    assert not with_it.covered
    scored = get_protocol("pnp-fixed").scored_classes
    assert scored(with_it) == tuple(range(81))
    assert scored(without) == tuple(range(1, 81))


def test_absent_ids_are_refused(tmp_path: Path) -> None:
    data = load_dataset("coco-object", write_coco(tmp_path, values=[90]))
    with pytest.raises(OvssError, match="holds 90"):
        data.label(ONE)


@pytest.mark.parametrize(
    ("suffix", "values"),
    [("_instanceTrainIds", [1, 80, 0, 0, 0]), ("_labelTrainIds", [0, 79, 80, 170, 255])],
)
def test_converted_maps_give_the_same_labels(tmp_path: Path, suffix: str, values: list) -> None:
    photo(tmp_path / "images" / "val2017" / f"{ONE}.jpg")
    save_label(tmp_path / "annotations" / "val2017" / f"{ONE}{suffix}.png", values)
    data = load_dataset("coco-object", tmp_path)
    assert data.label(ONE).reshape(-1)[:5].tolist() == [1, 80, 0, 0, 0]
    assert data.ids == (ONE,)


def test_polygons_runs_and_empty_images(tmp_path: Path) -> None:
    """The three ways to write a mask; an image without annotations is background, and counts."""
    from pycocotools import mask

    drawn = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    drawn[4:8, 10:20] = 1
    code = mask.encode(drawn)
    compressed = {"size": list(code["size"]), "counts": code["counts"].decode()}
    column = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT, HEIGHT * (WIDTH - 1)]}
    two = [rectangle(2, 2, 6, 5), rectangle(2, 8, 6, 10)]
    write_coco(
        tmp_path,
        [annotation(1, 90, two), annotation(1, 18, compressed), annotation(2, 1, column, 1)],
    )
    data = load_dataset("coco-object-instances", tmp_path)
    assert data.ids == (ONE, TWO, THREE)
    want = np.zeros((HEIGHT, WIDTH), int)
    want[2:5, 2:6] = want[8:10, 2:6] = 80
    want[4:8, 10:20] = 17  # dog: id 18, the 17th that exists
    assert (data.label(ONE) == want).all()
    assert (data.label(TWO)[:, 0] == 1).all()
    assert not data.label(TWO)[:, 1:].any()
    assert not data.label(THREE).any()
    assert data.label(THREE).shape == data.image(THREE).size[::-1]


def test_sparse_ids_become_labels(tmp_path: Path) -> None:
    whole = [rectangle(0, 0, WIDTH, HEIGHT)]
    for category, label in ((1, 1), (11, 11), (13, 12), (44, 40), (46, 41), (67, 61), (90, 80)):
        data = CocoInstances(write_coco(tmp_path, [annotation(1, category, whole)]))
        assert (data.label(ONE) == label).all()
        assert THING_IDS[label - 1] == category


def test_the_first_annotation_wins(tmp_path: Path) -> None:
    car, bike = (
        annotation(1, 3, [rectangle(0, 0, 10, 10)]),
        annotation(1, 2, [rectangle(5, 5, 15, 15)]),
    )
    first = CocoInstances(write_coco(tmp_path, [car, bike]))
    assert first.label(ONE)[7, 7] == 3
    second = CocoInstances(write_coco(tmp_path, [bike, car]))
    assert second.label(ONE)[7, 7] == 2


def test_crowds_are_objects(tmp_path: Path) -> None:
    """The released code paints crowds as their class."""
    everywhere = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}
    single = rectangle(0, 0, 5, 5)
    write_coco(tmp_path, [annotation(1, 1, everywhere, 1), annotation(1, 3, [single])])
    assert (load_dataset("coco-object-instances", tmp_path).label(ONE) == 1).all()


def test_damaged_files(tmp_path: Path) -> None:
    write_coco(tmp_path, [annotation(1, 1, {"size": [2, 2], "counts": [0, 4]})])
    with pytest.raises(OvssError, match=rf"a mask of {ONE} is damaged \(made for \[2, 2\]"):
        CocoInstances(tmp_path).label(ONE)
    with pytest.raises(OvssError, match="lists no image 7"):
        CocoInstances(tmp_path).label("7")
    write_coco(tmp_path, [annotation(1, 12, [])])
    with pytest.raises(OvssError, match="not COCO's instances: 12"):
        CocoInstances(tmp_path)
    file = tmp_path / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text()[:-20])
    with pytest.raises(OvssError, match="cannot be read"):
        CocoInstances(tmp_path)
    file.write_text("[]")
    with pytest.raises(OvssError, match="cannot be read"):
        CocoInstances(tmp_path)


def test_without_pycocotools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(OvssError, match="pip install 'pycocotools"):
        CocoInstances(write_coco(tmp_path))


@needs_realdata
def test_real_instances() -> None:
    """Compressed runs, a crowd in plain runs and polygons, as the official file has them."""
    content = json.loads((SHARED / "coco/annotations/instances_val2017.json").read_text())
    data = CocoInstances(SHARED)
    kinds = set()
    for image in content["images"]:
        name = Path(image["file_name"]).stem
        label = data.label(name)
        assert data.image(name).size == label.shape[::-1]
        ones = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        want = np.zeros(label.shape, int)
        for one in reversed(ones):  # painted backwards, the first comes out on top
            want[decode(one["segmentation"], *label.shape)] = (
                THING_IDS.index(one["category_id"]) + 1
            )
            runs = one["segmentation"]
            kinds.add("polygons" if isinstance(runs, list) else type(runs["counts"]).__name__)
        assert (label == want).all()
        assert label.any()
    assert kinds == {"polygons", "str", "list"}


@needs_realdata
def test_real_maps() -> None:
    stuff, data = load_dataset("coco-stuff", SHARED), load_dataset("coco-object", SHARED)
    for name in ("000000000139", "000000000785"):
        full, label = stuff.label(name), data.label(name)
        assert (label == np.where(full <= 80, full, 0)).all()
        assert label.any()
