"""The page on protocols shows the protocols as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovsslib import protocol_table
from ovsslib.protocols import PROTOCOLS

PAGE = Path(__file__).resolve().parents[1] / "book" / "protocols.md"


def test_every_protocol_has_its_column() -> None:
    assert sorted(protocol_table.ORDER) == sorted(PROTOCOLS)


@pytest.mark.parametrize("name", ["rules", "labels", "sclip"])
def test_the_page_holds_the_tables(name: str) -> None:
    table = getattr(protocol_table, name)()
    assert table in PAGE.read_text(encoding="utf-8"), f"put this into {PAGE.name}:\n{table}"
    assert len({line.count("|") for line in table.splitlines()}) == 1
