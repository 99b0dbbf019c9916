"""Reading the pictures of a task, in batches, past the broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.spec import Execution, Log
from ovsslib.evaluate.task import batches, make_task
from support.helpers import write_photo, write_voc


def test_a_picture_with_what_is_true_and_told(tmp_path: Path) -> None:
    work = make_task(load_dataset("diorama", write_voc(tmp_path, 2)))
    picture = work.read("img_0001")
    present = sorted(set(np.unique(picture.truth).tolist()) - {0, 255})
    assert list(picture.looked_for) == present
    assert picture.classes == tuple(work.dataset.classes[k - 1] for k in present)
    assert picture.image.size == picture.truth.shape[::-1]


def test_batches_keep_order_limit_and_name_what_failed(tmp_path: Path) -> None:
    root = write_voc(tmp_path, 7)
    (root / "JPEGImages" / "img_0001.jpg").write_text("")
    write_photo(root / "JPEGImages" / "img_0003.jpg", (20, 20))
    work = make_task(load_dataset("diorama", root), limit=6)
    log = Log()
    found = [[p.name for p in batch] for batch in batches(work, Execution(batch=2), log)]
    assert found == [["img_0000", "img_0002"], ["img_0004", "img_0005"]]
    failed = log.failed
    assert set(failed) == {"img_0001", "img_0003"}
    assert "not an image" in failed["img_0001"]
    assert "differ in size" in failed["img_0003"]
    assert str(tmp_path) not in failed["img_0001"]


def test_progress_sees_every_picture(tmp_path: Path) -> None:
    seen: list[object] = []

    def progress(items: object, description: str, total: int) -> object:
        seen.extend([description, total])
        for item in items:
            seen.append(item)
            yield item

    work = make_task(load_dataset("diorama", write_voc(tmp_path, 3)))
    list(batches(work, Execution(progress=progress), Log()))
    assert seen == ["diorama", 3, "img_0000", "img_0001", "img_0002"]


def test_unknown_names(tmp_path: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path, 1))
    with pytest.raises(OvssError, match="did you mean 'oracle'"):
        make_task(data, filter="orakel")
    with pytest.raises(OvssError, match="did you mean 'tcl'"):
        make_task(data, protocol="tcll")
