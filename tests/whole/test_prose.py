"""No measured number is typed: decimals in prose are filled in, or listed here with a reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support.helpers import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]
PAGES += sorted((ROOT / "notebooks").glob("*.ipynb"))
PYTHON = "3.11 3.12 3.13"
TYPED = {
    # versions and sizes of downloads
    "README.md": f"{PYTHON} 6.8 2.2 2.0",
    "contributor.md": f"{PYTHON} 4.26 1.26 0.00001",  # the last: a bound of tests/lavis
    "reproducibility.md": PYTHON,
    # bounds that tests hold
    "densecrf.md": "99.95 0.0001 0.02",
    # settings: of the captions, of filters, of the training schedule, of protocols, of the search
    "diorama.md": "0.6",
    "filters.md": "0.5 0.7",
    "models.md": "0.02 0.008 0.6 0.25 0.15",
    "protocols.md": "0.1 0.4 0.5",
    "tuning.md": "0.001 0.01 0.02 0.05 0.1 0.11 0.45",
    "01_attention_exploration.ipynb": "0.5",  # chance
}
"""Page -> decimals that are no measurements, and stand there in figures."""
_NO_PROSE = (
    r"```.*?```",
    r"<!-- (\w+):begin -->.*?<!-- \1:end -->",  # written from results files; tested elsewhere
    r"\{[a-z:]+\}`[^`]*`",
    r"`[^`]*`",
    r"\$\$.*?\$\$",
    r"\$[^$\n]*\$",
    r"\]\([^)]*\)",
)


def prose(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    for form in _NO_PROSE:
        text = re.sub(form, " ", text, flags=re.S)
    return text


def decimals(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_decimal_is_typed(page: Path) -> None:
    assert sorted(decimals(prose(page)) - set(TYPED.get(page.name, "").split())) == []


def test_every_exception_is_used() -> None:
    found = {page.name: decimals(prose(page)) for page in PAGES}
    unused = {name: set(text.split()) - found[name] for name, text in TYPED.items()}
    assert {name: left for name, left in unused.items() if left - set(PYTHON.split())} == {}


def test_a_typed_decimal_is_found() -> None:
    assert decimals("It reaches 63.7 % (`0.5`, 1.2.3, v2.0).") == {"63.7", "0.5"}
