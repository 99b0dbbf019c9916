"""`ovss book`: what its options ask for."""

from __future__ import annotations

import pytest

from support.helpers import one_error, ovss


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--skip-execute", "--only", "01"], ["--skip-execute runs nothing"]),
        (["--skip-execute", "-p", "limit=3"], ["--skip-execute runs nothing"]),
        (["--only", "99"], ["no notebook '99'", "available: 01_attention_exploration"]),
        (["--only", "10", "-p", "limt=3"], ["notebook 10_table parameter 'limt'"]),
        (["-p", "limit"], ["write it as key=value"]),
    ],
)
def test_errors_are_one_line(arguments: list[str], words: list[str]) -> None:
    one_error(ovss("book", *arguments), 2, *words)
