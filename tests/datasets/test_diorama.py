"""Diorama: its classes, and the shipped splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.miniature.diorama.classes import CLASSES, THINGS
from support.helpers import write_voc


def test_diorama_things_and_stuff(tmp_path: Path) -> None:
    write_voc(tmp_path, 1)
    data = load_dataset("diorama", tmp_path)
    assert data.classes == CLASSES
    assert {data.classes[k - 1] for k in data.things} == set(THINGS)
    assert data.covered
    assert not load_dataset("voc", tmp_path).covered


@pytest.mark.parametrize(("split", "n"), [("val", 200), ("tune", 100)])
def test_shipped_diorama(split: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVSS_DATA", raising=False)
    data = load_dataset("diorama", split=split)
    assert len(data.ids) == n
    seen: set[int] = set()
    for name in data.ids:
        label = data.label(name)
        assert data.image(name).size == label.shape[::-1]
        seen |= set(np.unique(label).tolist())
    assert seen == set(range(21)) | {255}
