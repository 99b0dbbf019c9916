"""Roots and split files that are missing or wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.base import list_images, read_split
from ovsslib.errors import OvssError
from support.helpers import write_voc


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


def test_split_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n\n y \r\n")
    assert read_split(tmp_path / "a.txt") == ("x", "y")
    (tmp_path / "a.txt").write_bytes("x\r\ny\r\n".encode("utf-16"))
    assert read_split(tmp_path / "a.txt") == ("x", "y")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(OvssError, match="is empty"):
        read_split(tmp_path / "empty.txt")
    (tmp_path / "twice.txt").write_text("x\ny\nx\n")
    with pytest.raises(OvssError, match="x is listed twice"):
        read_split(tmp_path / "twice.txt")


def test_names_of_files_are_text(tmp_path: Path) -> None:
    """Else the run would fail where its tables are written."""
    (tmp_path / "a.jpg").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.jpg")).touch()
    with pytest.raises(OvssError, match=r"'b\\udcff.jpg' is not UTF-8; rename"):
        list_images(tmp_path, ())
