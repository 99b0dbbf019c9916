"""Name look-up and its errors."""

from __future__ import annotations

from typing import Literal

import pytest

from ovsslib.errors import OvssError
from ovsslib.lookup import check_names, check_types, fits, pick, spell, unknown


def test_pick_returns_the_entry() -> None:
    assert pick("colour", "red", {"red": 1, "blue": 2}) == 1


@pytest.mark.parametrize("name", ["rad", "RED", 3, None])
def test_unknown_name_lists_all(name: object) -> None:
    with pytest.raises(OvssError, match=r"unknown colour .*Known: blue, red"):
        pick("colour", name, {"red": 1, "blue": 2})  # type: ignore[arg-type]


def test_nearest_name_is_proposed() -> None:
    assert "did you mean 'bridgetower'?" in str(unknown("preset", "bridge-tower", ["bridgetower"]))
    assert "did you mean" not in str(unknown("preset", "zzz", ["bridgetower"]))


def test_names_are_checked() -> None:
    check_names("colour", ["red"], {"red": 1, "blue": 2})
    with pytest.raises(OvssError, match="unknown colour 'rad'; did you mean 'red'"):
        check_names("colour", ["blue", "rad"], ["red", "blue"])


def test_types_are_checked() -> None:
    kinds = {"size": float | None, "rule": Literal["few", "none"], "pages": list[int]}
    check_types({"size": 1, "rule": "few"}, kinds)
    with pytest.raises(OvssError, match="the book's size must be float or None, got 'big'"):
        check_types({"size": "big"}, kinds, "the book's ")
    with pytest.raises(OvssError, match="unknown value of rule 'fw'; did you mean 'few'"):
        check_types({"rule": "fw"}, kinds)
    with pytest.raises(OvssError, match=r"pages must be list\[int\], got 3"):
        check_types({"pages": 3}, kinds)
    assert spell(None | int) == "None or int"


@pytest.mark.parametrize(
    ("value", "kind", "good"),
    [
        (1, float, True),
        (True, float, False),
        (True, bool, True),
        ("a", str | None, True),
        (None, None, True),
        ([1, 2], list[int], True),
        ([1, "b"], list[int], False),
        ([1, 2], tuple[int, ...], True),
        ("ab", list[str], False),
        ({"a": 1}, dict[str, int], True),
        (1, Literal[1, 2], True),
        (True, Literal[1, 2], False),
    ],
)
def test_fits(value: object, kind: object, good: bool) -> None:
    assert fits(value, kind) is good
