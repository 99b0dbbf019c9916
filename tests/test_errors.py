"""The error that users read."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import ovsslib
from ovsslib.errors import OvssError


def test_it_is_an_ordinary_exception_with_its_message() -> None:
    assert issubclass(OvssError, Exception)
    # Not caught by those who handle a wrong value of Python's own.
    assert not issubclass(OvssError, (ValueError, RuntimeError, OSError))
    assert str(OvssError("no such thing")) == "no such thing"
    assert ovsslib.OvssError is OvssError


def test_no_message_holds_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "no-known-form-0123")
    error = OvssError("refused: b'Bearer no-known-form-0123'")
    assert str(error) == "refused: b'Bearer [key]'"
    monkeypatch.delenv("OPENAI_API_KEY")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_command_prints_one_line(tmp_path: Path) -> None:
    words = ["segment", tmp_path / "a.jpg", "-c", "cat, cat", "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-m", "ovsslib", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "given twice" in line
