"""The page on protocols shows the protocols as they are."""

from __future__ import annotations

import pytest

from ovsslib.book import protocol_tables as protocol_table
from ovsslib.protocols.protocol import PROTOCOLS
from support.helpers import ROOT

PAGE = ROOT / "book" / "protocols.md"


def test_every_protocol_has_its_column() -> None:
    assert sorted(protocol_table.ORDER) == sorted(PROTOCOLS)


@pytest.mark.parametrize("name", ["rules", "labels", "sclip"])
def test_the_page_holds_the_tables(name: str) -> None:
    table = getattr(protocol_table, name)()
    assert table in PAGE.read_text(encoding="utf-8"), f"put this into {PAGE.name}:\n{table}"
    assert len({line.count("|") for line in table.splitlines()}) == 1
