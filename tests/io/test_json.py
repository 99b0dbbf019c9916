"""Records as plain JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from ovsslib.io.json import dumps, plain


@dataclass(frozen=True)
class Pair:
    one: int
    two: tuple[float, ...]


def test_everything_becomes_pythons_own() -> None:
    record = {
        1: np.int64(3),
        "pair": Pair(1, (0.5, float("nan"))),
        "set": frozenset({"b", "a"}),
        "number": np.float32(0.25),
        "deep": [{"x": float("inf")}],
        "none": None,
    }
    assert plain(record) == {
        "1": 3,
        "pair": {"one": 1, "two": [0.5, None]},
        "set": ["a", "b"],
        "number": 0.25,
        "deep": [{"x": None}],
        "none": None,
    }
    assert type(plain(record)["1"]) is int


def test_text_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "123456789")
    record = {"failed": {"p": "refused: 123456789"}, "pixels": 1234567890}
    text = json.loads(dumps(record))
    assert text == {"failed": {"p": "refused: [key]"}, "pixels": 1234567890}  # numbers stay


def test_text_is_json_with_its_own_letters() -> None:
    text = dumps({"name": "Bär", "value": np.float64("nan")})
    assert "Bär" in text
    assert text.endswith("}\n")
    assert json.loads(text) == {"name": "Bär", "value": None}
