"""Parameters of notebooks: one form, and every mistake named before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ovsslib.book.parameters import CHECKS, KINDS, check, plain
from ovsslib.errors import OvssError
from support.helpers import write_voc

SETTINGS = str | dict[str, object]


@pytest.mark.parametrize(
    ("value", "kind", "form"),
    [
        ('{"rounds": 2}', SETTINGS, {"rounds": 2}),
        ({"rounds": 2}, SETTINGS, {"rounds": 2}),
        ("", SETTINGS, {}),
        ("oracle, all,", str | list[str], ["oracle", "all"]),
        (["oracle"], str | list[str], ["oracle"]),
        ("", str | list[str], []),
        ("", str | None, None),
        ("", str, ""),
        ("a", str | None, "a"),
        (3, int | None, 3),
    ],
)
def test_a_value_has_one_form(value: Any, kind: Any, form: Any) -> None:
    assert plain(value, kind, "parameter") == form


@pytest.mark.parametrize("value", ["rounds=2", "[1]", "{"])
def test_settings_that_are_none_are_refused(value: str) -> None:
    with pytest.raises(OvssError, match="parameter config must be settings as JSON text"):
        plain(value, SETTINGS, "config")


@pytest.mark.parametrize("name", KINDS)
def test_each_range_refuses_nonsense(name: str) -> None:
    for value in (-1, float("nan"), "3", [], [-1], True):
        with pytest.raises(OvssError, match=f"parameter {name} must be "):
            check({name: value})


@pytest.mark.parametrize("names", CHECKS)
def test_each_check_names_its_parameter(names: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    wrong: Any = str(tmp_path / "file" / "below")
    wrong = {"config": {"nope": 1}, "ablation": [wrong], "methods": [wrong]}.get(names, wrong)
    with pytest.raises(OvssError, match=f"^parameter {names}: ") as error:
        check({"dataset": "diorama", names.split(",", maxsplit=1)[0]: wrong})
    assert "\n" not in str(error.value)


def test_what_is_right_or_not_known_passes(tmp_path: Path) -> None:
    given = {"vlm": "micro-blip", "dataset": "diorama", "split": "tune", "image_id": None}
    check(given | {"limit": None, "out": str(tmp_path / "new"), "another": object()})
    assert not (tmp_path / "new").exists()


def test_an_image_must_show_a_class(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    root = write_voc(tmp_path, 1)
    label = root / "SegmentationClass" / "img_0000.png"
    with Image.open(label) as image:
        palette, size = image.getpalette(), image.size
    blank = Image.fromarray(np.zeros(size[::-1], np.uint8))
    blank.putpalette(palette or [])
    blank.save(label)
    given = {"dataset": "voc", "data_root": str(root), "split": "val"}
    for name in (None, "img_0000"):
        with pytest.raises(OvssError, match="image 'img_0000' shows none of the classes"):
            check(given | {"image_id": name})
