"""An image's classes from its captions or from recorded answers, never from its mask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters.base import Oracle
from ovsslib.filters.captions import image_labels
from support.helpers import write_voc


def test_captions_name_what_the_masks_hold() -> None:
    data = load_dataset("diorama", split="tune")
    named = {(name, label) for name in data.ids for label in image_labels(data, name)}
    true = {(name, label) for name in data.ids for label in Oracle()(data, name)}
    assert named <= true
    assert len(named) > 0.98 * len(true)
    assert list(image_labels(data, data.ids[0])) == sorted(image_labels(data, data.ids[0]))


def captioned(root: Path, texts: list[str]) -> object:
    write_voc(root, 1)
    line = {"id": "img_0000", "split": "val", "captions": texts}
    (root / "captions.jsonl").write_text(json.dumps(line) + "\n")
    return load_dataset("voc21", root, split="val")


def test_whole_names_only(tmp_path: Path) -> None:
    data = captioned(tmp_path, ["a cat, a carpet", "a potted plant by the catwalk"])
    names = [data.classes[label - 1] for label in image_labels(data, "img_0000")]
    assert sorted(names) == ["cat", "potted plant"]
    # A changed file is read anew.
    data = captioned(tmp_path / "again", ["nothing"])
    assert image_labels(data, "img_0000") == ()


def test_no_captions(tmp_path: Path) -> None:
    data = captioned(tmp_path, ["a cat"])
    with pytest.raises(OvssError, match="has no captions of img_0009"):
        image_labels(data, "img_0009")
    (tmp_path / "captions.jsonl").write_text("junk\n")
    with pytest.raises(OvssError, match=r"captions\.jsonl: cannot be read"):
        image_labels(data, "img_0000")
    (tmp_path / "captions.jsonl").unlink()
    with pytest.raises(OvssError, match=r"no captions\.jsonl .* give recorded answers"):
        image_labels(data, "img_0000")


def test_a_mark_at_the_start_of_the_file(tmp_path: Path) -> None:
    data = captioned(tmp_path, ["a cat"])
    file = tmp_path / "captions.jsonl"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert [data.classes[label - 1] for label in image_labels(data, "img_0000")] == ["cat"]
