"""Data sets by name: aliases, roots, and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovsslib.datasets import ALIASES, FILES, list_datasets, load_dataset
from ovsslib.datasets.diorama import SHIPPED
from ovsslib.errors import OvssError
from support.helpers import write_voc


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


@pytest.mark.parametrize(
    ("root", "split", "words"),
    [
        (3, "val", "root must be str or PathLike or None, got 3"),
        (b"voc", "val", "root must be"),
        (None, None, "split must be str, got None"),
        (None, ["val"], "split must be str"),
        (5000 * "x", "val", "no such folder"),
        (".", 300 * "x", "no such split"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: object, split: object, words: str
) -> None:
    monkeypatch.chdir(write_voc(tmp_path, 1))
    for name in ("voc", "coco-stuff") if "must be" in words else ("voc",):
        with pytest.raises(OvssError, match=words):
            load_dataset(name, root, split)  # type: ignore[arg-type]
