"""COCO-Stuff: 182 official ids become 171 labels, from official and from converted maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.coco_stuff import (
    ABSENT_IDS,
    COCO_CLASSES,
    STUFF_IDS,
    THING_IDS,
    official_table,
    train_id_table,
)
from ovsslib.datasets.folder import ILLEGAL
from ovsslib.errors import OvssError
from ovsslib.protocols.protocol import get_protocol
from support.helpers import SHARED, needs_realdata
from support.small_data import photo, save_label, write_coco

ABSENT_PIXELS = [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90]
NAME = "000000000001"


def test_official_numbering() -> None:
    """A pixel holds the id less one; labels count without the eleven absent ids."""
    table = official_table()
    assert len(THING_IDS) == 80
    assert len(STUFF_IDS) == 91
    assert [k for k in range(182) if table[k] == ILLEGAL] == ABSENT_PIXELS
    assert [number - 1 for number in sorted(ABSENT_IDS)] == ABSENT_PIXELS
    assert table[[0, 10, 12, 89, 91, 181, 255]].tolist() == [1, 11, 12, 80, 81, 171, 255]
    assert sorted(set(table.tolist()) - {ILLEGAL, 255}) == list(range(1, 172))
    assert (table[182:255] == ILLEGAL).all()


def test_table_and_dining_table_are_two_classes() -> None:
    table = official_table()
    assert COCO_CLASSES[table[67 - 1] - 1] == "dining table"
    assert COCO_CLASSES[table[165 - 1] - 1] == "table"
    assert len(set(COCO_CLASSES)) == 171


def test_look_up_does_not_chain(tmp_path: Path) -> None:
    """Renamed one after another in place, 12 would become 11, 91 become 80 and so on."""
    values = [0, 12, 13, 89, 91, 92, 181, 255]
    data = load_dataset("coco-stuff", write_coco(tmp_path, values=values))
    assert data.label(NAME).reshape(-1)[:8].tolist() == [1, 12, 13, 80, 81, 82, 171, 255]
    assert get_protocol("pnp-fixed").scored_classes(data) == tuple(range(1, 172))


@pytest.mark.parametrize("pixel", [*ABSENT_PIXELS, 182, 254])
def test_absent_ids_are_refused(tmp_path: Path, pixel: int) -> None:
    data = load_dataset("coco-stuff", write_coco(tmp_path, values=[0, pixel], n=1))
    with pytest.raises(OvssError, match=f"holds {pixel}, but the label files of coco-stuff hold"):
        data.label(NAME)


def test_converted_maps_give_the_same_labels(tmp_path: Path) -> None:
    """mmsegmentation's tree: images and annotations, with official and converted maps together."""
    root = tmp_path / "coco_stuff164k"
    official = [0, 12, 91, 181, 255]
    for number in (1, 2):
        photo(root / "images" / "val2017" / f"{number:012d}.jpg")
        stem = root / "annotations" / "val2017" / f"{number:012d}"
        save_label(stem.with_suffix(".png"), official)
        save_label(Path(f"{stem}_labelTrainIds.png"), [0, 11, 80, 170, 255])
    data = load_dataset("coco-stuff", tmp_path)
    assert (data.maps.suffix, len(data.ids)) == ("", 2)  # type: ignore[attr-defined]
    want = data.label(NAME)
    for number in (1, 2):
        (root / "annotations" / "val2017" / f"{number:012d}.png").unlink()
    data = load_dataset("coco-stuff", tmp_path)
    assert data.maps.suffix == "_labelTrainIds"  # type: ignore[attr-defined]
    assert len(data.ids) == 2
    assert (data.label(NAME) == want).all()
    assert (train_id_table()[171:255] == ILLEGAL).all()


def test_map_without_image_and_image_without_map(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (tmp_path / "val2017" / f"{NAME}.jpg").unlink()
    (tmp_path / "stuffthingmaps/val2017/000000000003.png").unlink()
    data = load_dataset("coco-stuff", tmp_path)
    assert data.ids == tuple(f"{number:012d}" for number in (1, 2, 3))
    with pytest.raises(OvssError, match="no such file"):
        data.image(NAME)
    with pytest.raises(OvssError, match="the label file is missing"):
        data.label("000000000003")


def test_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="has no split 'test'; there are train, val"):
        load_dataset("coco-stuff", tmp_path, "test")
    with pytest.raises(OvssError, match="ovss data download coco-stuff"):
        load_dataset("coco-stuff", tmp_path)
    (tmp_path / "annotations" / "val2017").mkdir(parents=True)
    with pytest.raises(OvssError, match="no pixel maps"):
        load_dataset("coco-stuff", tmp_path)


def test_things() -> None:
    from ovsslib.datasets.coco_stuff import COCO_STUFF

    assert [COCO_CLASSES[k - 1] for k in sorted(COCO_STUFF.things)] == list(COCO_CLASSES[:80])


@needs_realdata
def test_real_maps() -> None:
    data = load_dataset("coco-stuff", SHARED)
    for name, some in (
        ("000000000139", {"chair", "tv", "vase"}),
        ("000000000785", {"person", "skis"}),
    ):
        label = data.label(name)
        assert data.image(name).size == label.shape[::-1]
        values = set(np.unique(label).tolist()) - {255}
        assert some <= {data.classes[k - 1] for k in values}
        assert 0 not in values
    # The third image has instances only.
    with pytest.raises(OvssError, match="the label file is missing"):
        data.label("000000142238")
