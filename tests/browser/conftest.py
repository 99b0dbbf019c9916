"""One browser and one served book for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.browser import newest_book, served, started


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless chromium."""
    with started() as chromium:
        yield chromium


@pytest.fixture(scope="session")
def book() -> Iterator[str]:
    """The address of the built book."""
    with served(newest_book()) as address:
        yield address
