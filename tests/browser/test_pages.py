"""Every page of the built book in chromium: no error, nothing fetched from outside, accessible."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from support.browser import axe, visit
from support.helpers import ROOT

MEGABYTE = 1_000_000
MOST = {"intro": 1.5}
"""Page -> megabytes that may be loaded for it."""
MOST_ELSEWHERE = 3.0


def _files(node: object) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _files(item)]
    if isinstance(node, dict):
        own = [node[key] for key in ("root", "file") if key in node]
        return own + [name for value in node.values() for name in _files(value)]
    return []


PAGES = _files(yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")))
ALL = [*PAGES, "search", "genindex"]


@pytest.mark.parametrize("name", ALL)
def test_a_page_is_sound(browser: Any, book: str, name: str) -> None:
    with visit(browser, book) as seen:
        seen.open(f"{name}.html")
        assert seen.errors == []
        assert seen.failed == []
        assert seen.page.locator("h1").count() == 1
        assert seen.size <= MOST.get(name, MOST_ELSEWHERE) * MEGABYTE
        assert axe(seen.page, "serious", "critical") == []


@pytest.mark.parametrize("name", ALL)
def test_a_page_is_sound_in_the_dark(browser: Any, book: str, name: str) -> None:
    with visit(browser, book, scheme="dark") as seen:
        seen.open(f"{name}.html")
        assert seen.page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert seen.errors == []
        assert axe(seen.page, "serious", "critical") == []


WIDE = """() => {
  const width = document.documentElement.clientWidth;
  const clipped = element => {
    for (let up = element.parentElement; up && up !== document.body; up = up.parentElement)
      if (getComputedStyle(up).overflowX !== "visible") return true;
    return false;
  };
  const shown = element => getComputedStyle(element).position !== "fixed";
  const out = [...document.body.querySelectorAll("*")].filter(e =>
    e.getBoundingClientRect().right > width + 1 && shown(e) && !clipped(e));
  return [document.documentElement.scrollWidth - width,
          out.slice(0, 3).map(e => e.outerHTML.slice(0, 120))];
}"""


@pytest.mark.parametrize("name", ALL)
def test_a_page_fits_a_phone(browser: Any, book: str, name: str) -> None:
    with visit(browser, book, "phone") as seen:
        seen.open(f"{name}.html")
        assert seen.errors == []
        over, elements = seen.page.evaluate(WIDE)
        assert over <= 0, elements


@pytest.mark.parametrize(
    ("term", "page"), [("dropout", "03_salience_dropout"), ("CRF", "densecrf")]
)
def test_search_finds_a_term(browser: Any, book: str, term: str, page: str) -> None:
    with visit(browser, book) as seen:
        seen.open(f"search.html?q={term}")
        found = seen.page.locator(f"#search-results a[href*='{page}']")
        found.first.wait_for(timeout=20_000)
        assert seen.errors == []
        assert seen.failed == []


def test_the_keyboard_reaches_the_text(browser: Any, book: str) -> None:
    with visit(browser, book) as seen:
        seen.open("intro.html")
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")  # the first link skips the menus
        assert seen.page.evaluate("location.hash") == "#main-content"


def test_code_is_folded_and_opens(browser: Any, book: str) -> None:
    with visit(browser, book) as seen:
        seen.open("executed/03_salience_dropout.html")
        folds = seen.page.locator("details.hide")
        assert folds.count() == seen.page.locator("div.cell_input").count() > 3
        assert seen.page.locator("div.cell_input:visible").count() == 0
        folds.nth(1).locator("summary").press("Enter")
        assert seen.page.locator("div.cell_input:visible").count() == 1
