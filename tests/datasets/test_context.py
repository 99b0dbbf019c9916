"""Pascal Context: which order, which background, which images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.context import (
    CONTEXT60,
    CONTEXT_CLASSES,
    CONTEXT_IDS,
    ids_table,
    voc_first_table,
)
from ovsslib.errors import OvssError
from ovsslib.protocols.protocol import get_protocol
from support.helpers import SHARED, needs_realdata
from support.small_data import save_label, write_context


def test_background_is_a_class_of_60_and_void_of_59(tmp_path: Path) -> None:
    write_context(tmp_path / "VOC2010")
    sixty, fiftynine = (load_dataset(name, tmp_path) for name in ("context60", "context59"))
    label = sixty.label("2008_000000")
    assert set(np.unique(label)) == {0, 1, 15, 59}
    assert (fiftynine.label("2008_000000") == np.where(label == 0, 255, label)).all()
    assert len(sixty.classes) == len(fiftynine.classes) == 59
    scored = get_protocol("pnp-fixed").scored_classes
    assert scored(sixty) == tuple(range(60))
    assert scored(fiftynine) == tuple(range(1, 60))
    assert sixty.covered
    assert fiftynine.covered


def test_labels_that_were_shifted_already_are_refused(tmp_path: Path) -> None:
    """255 tells of files in which 0 was dropped and each class moved down by one."""
    write_context(tmp_path, [255, 0, 58])
    with pytest.raises(OvssError, match="holds 255, but the label files of context60 hold 0 to 59"):
        load_dataset("context60", tmp_path).label("2008_000000")


def test_other_classes_of_the_459_are_background() -> None:
    table = ids_table()
    assert len(CONTEXT_IDS) == 60
    assert list(CONTEXT_IDS) == sorted(set(CONTEXT_IDS))
    assert table[list(CONTEXT_IDS)].tolist() == list(range(60))
    assert not np.delete(table, CONTEXT_IDS).any()


def test_both_orders_hold_the_same_classes() -> None:
    table = voc_first_table()
    assert sorted(table.tolist()) == list(range(60))
    assert CONTEXT_CLASSES[table[15] - 1] == "person"
    assert CONTEXT_CLASSES[table[11] - 1] == "table"
    assert CONTEXT_CLASSES[table[52] - 1] == "bedclothes"
    same = [CONTEXT_CLASSES[k - 1] for k in np.flatnonzero(table == np.arange(60)) if k]
    assert same == ["aeroplane", "wall", "water", "window", "wood"]  # the other 54 differ


def test_the_other_order_is_noticed(tmp_path: Path) -> None:
    """What is a mouse in one order is grass in the other: no single file shows it."""
    data = load_dataset("context60", write_context(tmp_path))
    images_with = np.zeros(256, int)
    images_with[36] = 5
    assert data.doubts(images_with, 100) == []
    images_with[36] = 40
    assert "VOC's classes first" in data.doubts(images_with, 100)[0]


def test_things() -> None:
    names = {CONTEXT_CLASSES[k - 1] for k in CONTEXT60.things}
    assert {"person", "table", "tv monitor", "cup"} < names
    assert not names & {"sky", "wall", "grass", "curtain"}


def test_sizes_of_both_published_lists() -> None:
    assert CONTEXT60.expected["val"] == (5104, 5105)


def test_images_are_those_of_voc_2010(tmp_path: Path) -> None:
    write_context(tmp_path / "VOCdevkit" / "VOC2010")
    data = load_dataset("context60", tmp_path)
    assert data.image_path("2008_000000").parent == tmp_path / "VOCdevkit/VOC2010/JPEGImages"
    assert data.image("2008_000000").size == data.label("2008_000000").shape[::-1]


def test_without_labels_the_commands_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "VOC2010" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(OvssError, match="ovss data convert context"):
        load_dataset("context60", tmp_path)
    monkeypatch.setenv("OVSS_DATA", str(tmp_path))
    with pytest.raises(OvssError, match="holds no VOCdevkit/VOC2010 with SegmentationClassContext"):
        load_dataset("context60")


def test_palette_and_grey_are_the_same(tmp_path: Path) -> None:
    from PIL import Image

    write_context(tmp_path)
    data = load_dataset("context60", tmp_path)
    grey = data.label("2008_000000")
    path = data.label_path("2008_000000")
    assert path is not None
    with Image.open(path) as stored:
        image = stored.copy()
    image.putpalette(bytes(range(256)) * 3)
    image.save(path)
    assert (data.label("2008_000000") == grey).all()
    save_label(path, [60])
    with pytest.raises(OvssError, match="holds 60"):
        data.label("2008_000000")


@needs_realdata
def test_real_labels() -> None:
    data = load_dataset("context60", SHARED / "VOCdevkit")
    assert set(data.ids) == {"2008_000268", "2008_000403", "2008_000783"}
    seen = set()
    for name in data.ids:
        label = data.label(name)
        assert data.image(name).size == label.shape[::-1]
        seen |= {data.classes[k - 1] for k in np.unique(label).tolist() if k}
    # Read in the other order these images would show a mouse, a platform, a cabinet…
    assert {"grass", "sky", "tree"} & seen
    assert "mouse" not in seen
