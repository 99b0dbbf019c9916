"""What README and the book's pages state by hand, against what it is stated about."""

from __future__ import annotations

import json
import pkgutil
import re
from pathlib import Path

import pytest
import yaml

from support.helpers import ROOT
from support.packages import FLAT, PACKAGES

BOOK = ROOT / "book"


def rows(page: Path, first: str) -> list[list[str]]:
    """The rows of the Markdown table whose first heading is this one, without its heading."""
    text = page.read_text(encoding="utf-8")
    table = re.search(rf"^\| *{re.escape(first)} *\|.*\n(?:\|.*\n)+", text, re.M)
    assert table, f"{page.name} has no table of {first}"
    return [[c.strip() for c in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


@pytest.mark.parametrize(("column", "model"), [(2, "micro-blip"), (3, "micro-bridgetower")])
def test_shapes_are_those_of_the_models(column: int, model: str) -> None:
    path = ROOT / "data" / "checkpoints" / model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # BridgeTower's cross-attention is in layers of their own, BLIP's in those of the text encoder.
    text = config if model == "micro-bridgetower" else config["text_config"]
    side = config["vision_config"]["image_size"]
    grid = side // config["vision_config"]["patch_size"]
    stated = {row[0]: row[column] for row in rows(BOOK / "shapes.md", "letter")}
    assert {letter: size for letter, size in stated.items() if size} == {
        "$L$": f"{text['num_hidden_layers']}",
        "$A$": f"{text['num_attention_heads']}",
        "$S$": f"{side}",
        "$h, w$": f"{grid}, {grid}",
        "$P = hw$": f"{grid**2}",
        "$D$": f"{config['vision_config']['hidden_size']}",
    }


def test_packages_are_listed_in_the_order_of_their_imports() -> None:
    first, *others = rows(BOOK / "contributor.md", "package")
    assert [row[0].strip("`") for row in others] == [*PACKAGES]
    assert set(re.findall(r"`(\w+)`", first[1])) == {*FLAT}


def test_the_first_page_leads_to_every_page() -> None:
    contents = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    pages = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    text = (BOOK / "intro.md").read_text(encoding="utf-8")
    assert re.findall(r"^- \{doc\}`([^`]+)`", text, re.M) == pages


def test_files_and_modules_that_pages_name_exist() -> None:
    pages = [ROOT / "README.md", *BOOK.glob("*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:tests|ovsslib|data|book|notebooks)/[\w./-]+)`", text):
            assert (ROOT / path).exists(), f"{page.name} names {path}"
        for name in re.findall(r"`(ovsslib(?:\.\w+)+)`", text):
            assert pkgutil.resolve_name(name) is not None, f"{page.name} names {name}"
