"""Name look-up and its errors."""

from __future__ import annotations

import pytest

from ovsslib.errors import OvssError
from ovsslib.lookup import pick, unknown


def test_pick_returns_the_entry() -> None:
    assert pick("colour", "red", {"red": 1, "blue": 2}) == 1


@pytest.mark.parametrize("name", ["rad", "RED", 3, None])
def test_unknown_name_lists_all(name: object) -> None:
    with pytest.raises(OvssError, match=r"unknown colour .*Known: blue, red"):
        pick("colour", name, {"red": 1, "blue": 2})  # type: ignore[arg-type]


def test_nearest_name_is_proposed() -> None:
    assert "did you mean 'bridgetower'?" in str(unknown("preset", "bridge-tower", ["bridgetower"]))
    assert "did you mean" not in str(unknown("preset", "zzz", ["bridgetower"]))
