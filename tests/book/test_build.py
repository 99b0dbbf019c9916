"""A miniature book, built with the real papermill and the real Jupyter Book."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from book.test_run import write
from ovsslib.book.build import build, lint, make_book
from ovsslib.errors import OvssError
from support.helpers import ROOT

PROJECT = ROOT
DRAW = """import matplotlib.pyplot as plt

fig, axis = plt.subplots(figsize=(2, 1))
axis.plot([0, params.limit])
notebook.figure(fig, "rise", alt="A line that rises", caption="The rise.")"""
GLUE = 'notebook.glue("answer", params.limit * 10.26)'


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """One notebook, one page, the project's own settings."""
    root = tmp_path_factory.mktemp("checkout")
    write(root / "notebooks" / "01_rise.ipynb", DRAW, GLUE)
    book = root / "book"
    book.mkdir()
    for name in ("_config.yml", "book/references.bib"):
        (root / name).write_text((PROJECT / name).read_text())
    (book / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nchapters:\n  - file: executed/01_rise\n"
    )
    (book / "intro.md").write_text(
        "# Start\n\nThe answer is {glue:text}`executed/01_rise.ipynb::answer:.1f`; "
        "see {numref}`fig-rise`.\n"
    )
    return root


@pytest.mark.slow
def test_a_book_from_its_notebooks(checkout):
    with pytest.raises(OvssError, match="not executed yet: 01_rise"):
        make_book(checkout, skip_execute=True)

    said: list[str] = []
    page = make_book(checkout, given={"limit": 3}, jobs=1, say=said.append)
    assert page == checkout / "_build" / "html" / "index.html"
    assert (checkout / "book" / "_static" / "generated" / "rise.png").is_file()
    assert any(re.search(r"01_rise +\d+\.\d s$", line) for line in said)

    intro = (page.parent / "intro.html").read_text()
    assert "The answer is" in intro
    assert "30.8" in intro
    executed = (page.parent / "executed" / "01_rise.html").read_text()
    assert 'alt="A line that rises"' in executed
    assert "The rise." in executed
    assert "limit: int" not in executed.replace("</span>", "")  # replaced defaults are gone


@pytest.mark.slow
def test_a_missing_number_stops_the_build(checkout):
    page = checkout / "book" / "intro.md"
    page.write_text("# Start\n\n{glue:text}`executed/01_rise.ipynb::nothing:.1f`\n")
    source, copy = (checkout / place / "01_rise.ipynb" for place in ("notebooks", "book/executed"))
    if not copy.is_file():  # this test alone: an unexecuted copy lacks the number as well
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(source.read_text())
    with pytest.raises(OvssError, match=r"the book does not build: .*intro\.md.*nothing"):
        build(checkout)


def test_outside_a_checkout(tmp_path):
    with pytest.raises(OvssError, match=r"has no book/_toc\.yml"):
        make_book(tmp_path)


def test_lint_finds_pictures_that_say_nothing(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<img src="a.png" alt="A cat"><img src="b.png"><img src="c.png" alt="">'
        '<img src="d.png" alt="../_images/d.png"><img src="e.png" alt="e.png"/>'
    )
    assert lint(page) == [f"page.html: {name}.png" for name in "bcde"]
