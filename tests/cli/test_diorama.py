"""`ovss diorama make`: a split in VOC's layout, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

from ovsslib.datasets import load_dataset
from support.helpers import one_error, ovss, write_voc


def test_make(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        done = ovss("diorama", "make", "--n", 2, "--seed", 3, "--out", tmp_path / folder)
        assert done.output == f"2 images of split val are in {tmp_path / folder}\n"
    first, second = (load_dataset("diorama", tmp_path / folder) for folder in ("a", "b"))
    assert len(first.ids) == 2
    for name in first.ids:
        assert first.image_path(name).read_bytes() == second.image_path(name).read_bytes()
        assert (first.label(name) == second.label(name)).all()
    assert (tmp_path / "a" / "captions.jsonl").is_file()


def test_errors_are_one_line(tmp_path: Path) -> None:
    one_error(ovss("diorama", "make", "--split", "vall", "--out", tmp_path / "a"), 2, "vall")


def test_another_data_set_is_left_alone(tmp_path: Path) -> None:
    before = write_voc(tmp_path, 1) / "ImageSets/Segmentation/val.txt"
    text = before.read_text()
    one_error(ovss("diorama", "make", "--n", 1, "--out", tmp_path), 2, "another data set's")
    assert before.read_text() == text
