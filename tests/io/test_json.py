"""Records as plain JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pytest

from ovsslib.io.json import digest, dumps, plain


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


def test_digests_of_results_stay() -> None:
    """Stored results are found by these digests; none may ever change."""
    record = {"b": [1, 0.5, None], "a": {"text": "Bär"}}
    assert digest(record, 12) == digest({"a": {"text": "Bär"}, "b": [1, 0.5, None]}, 12)
    assert (
        digest(record, 12)
        == hashlib.sha256(b'{"a": {"text": "B\\u00e4r"}, "b": [1, 0.5, null]}').hexdigest()[:12]
    )
    assert digest({"b": 1, "a": 2}, 64, sort_keys=False, separators=(",", ":")) == (
        hashlib.sha256(b'{"b":1,"a":2}').hexdigest()
    )


def test_a_file_name_that_is_no_text_does_not_lose_the_record() -> None:
    assert json.loads(dumps({"image": "b\udcff.jpg"})) == {"image": "b\ufffd.jpg"}
    # What a C locale makes of "ä".
    assert json.loads(dumps({"image": "\udcc3\udca4"})) == {"image": "ä"}
