"""A miniature book, built with the real papermill and the real Jupyter Book."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ovsslib.book.build import build, faults, make_book
from ovsslib.errors import OvssError
from ovsslib.io.files import only_one
from support.helpers import ROOT
from support.notebooks import write_notebook

DRAW = """import matplotlib.pyplot as plt

fig, axis = plt.subplots(figsize=(2, 1))
axis.plot([0, params.limit])
notebook.figure(fig, "rise", alt="A line that rises", caption="The rise.")"""
GLUE = 'notebook.glue("answer", params.limit * 10.26)'
LAST = "notebook.provenance(limit=params.limit)"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """One notebook, one page, the project's own settings."""
    root = tmp_path_factory.mktemp("checkout")
    write_notebook(root / "notebooks" / "01_rise.ipynb", DRAW, GLUE, LAST)
    book = root / "book"
    book.mkdir()
    dress = ("book/_templates/layout.html", "book/_static/book.css")
    for name in ("_config.yml", "book/references.bib", *dress):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text((ROOT / name).read_text())
    (book / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nchapters:\n  - file: executed/01_rise\n"
    )
    (book / "intro.md").write_text(
        "# Start\n\nThe answer is {glue:text}`executed/01_rise.ipynb::answer:.1f`; "
        "see {numref}`fig-rise`.\n"
    )
    return root


@pytest.mark.slow
def test_a_book_from_its_notebooks(checkout: Path) -> None:
    with pytest.raises(OvssError, match="not executed yet: 01_rise"):
        make_book(checkout, skip_execute=True)

    lines: list[str] = []
    page = make_book(checkout, given={"limit": 3}, jobs=1, say=lines.append)
    assert page == checkout / "_build" / "html" / "index.html"
    assert (checkout / "book" / "_static" / "generated" / "rise.png").is_file()
    assert any(re.search(r"01_rise +\d+\.\d s$", line) for line in lines)
    assert (page.parent / "numbers" / "01_rise.csv").read_text().count("value,answer,,,30.78") == 1
    source = (checkout / "notebooks" / "01_rise.ipynb").read_text()
    assert (page.parent / "notebooks" / "01_rise.ipynb").read_text() == source

    intro = (page.parent / "intro.html").read_text()
    assert "The answer is" in intro
    assert "30.8" in intro
    executed = (page.parent / "executed" / "01_rise.html").read_text()
    assert 'alt="A line that rises"' in executed
    assert "The rise." in executed
    assert re.search(r"<th>python</th>\s*<td>3\.", executed)  # the table of the last cell
    assert 'class="ovss-stamp"' in executed
    assert "cdn" not in executed
    lines.clear()
    make_book(checkout, given={"limit": 3}, jobs=1, say=lines.append)
    assert lines[:2] == ["1 notebooks are up to date (--force runs all)", "building the pages"]
    assert "limit: int" not in executed.replace("</span>", "")  # replaced defaults are gone


@pytest.mark.slow
def test_a_missing_number_stops_the_build(checkout: Path) -> None:
    page = checkout / "book" / "intro.md"
    page.write_text("# Start\n\n{glue:text}`executed/01_rise.ipynb::nothing:.1f`\n")
    source, copy = (checkout / place / "01_rise.ipynb" for place in ("notebooks", "book/executed"))
    if not copy.is_file():  # this test alone: an unexecuted copy lacks the number as well
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(source.read_text())
    with pytest.raises(OvssError, match=r"the book does not build: .*intro\.md.*nothing"):
        build(checkout)


def test_outside_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match=r"has no book/_toc\.yml"):
        make_book(tmp_path)


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<img src="a.png">', "an image without alternative text: a.png"),
        ('<img src="a.png" alt=" ">', "an image without alternative text: a.png"),
        ('<img src="a.png" alt="../_images/a.png">', "an image without alternative text: a.png"),
        ('<img src="a.png" alt="a.png"/>', "an image without alternative text: a.png"),
        ('<img alt="A cat">', "an image without a file"),
        ('<img src="b.png" alt="A cat">', "an image whose file is missing: b.png"),
        ("<figure><figcaption>A cat</figcaption></figure>", "a figure without content"),
        ("<p>| a | b |\n|:--|--:|</p>", "a table that is not rendered: | a | b |"),
        ("<p>as |:--| shows</p>", "a table that is not rendered: |:--"),
        ("<p>It is {glue:text}x.</p>", "a value that is not filled in: {glue:"),
        ("<p>&lt;Figure size 640x480 with 0 Axes&gt;</p>", "a figure that is not drawn: <Figure"),
    ],
)
def test_a_broken_page_is_found(tmp_path: Path, html: str, fault: str) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    page = tmp_path / "page.html"
    page.write_text(f"<html><body><br>{html}<p>The end.</p></body></html>")
    (line,) = faults(page)
    assert line.startswith(f"page.html: {fault}")


def test_a_sound_page_has_no_faults(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    page = tmp_path / "page.html"
    page.write_text(
        '<figure><img src="a.png" alt="A cat"><figcaption>A cat</figcaption></figure>'
        '<figure><table><tr><td>1</td></tr></table></figure><img src="data:x" alt="A dot">'
        "<p>a | b, and <code>{glue:text}</code></p><pre>| a |\n|:--|</pre>"
        '<span class="math notranslate">|x|</span>'
    )
    assert faults(page) == []


@pytest.mark.slow
def test_a_broken_page_stops_the_build(checkout: Path) -> None:
    faulty = '<p>| made with | |</p><figure></figure><img src="gone.png" alt="A cat">'
    (checkout / "book" / "intro.md").write_text(f"# Start\n\n{faulty}\n")
    (checkout / "book" / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    with pytest.raises(OvssError, match=r"pages \(4\): .*missing: gone\.png.*figure.*table"):
        build(checkout)


def test_one_build_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "_toc.yml").write_text("")
    with (
        only_one(tmp_path / "book"),
        pytest.raises(OvssError, match="another process is building the book there"),
    ):
        make_book(tmp_path)
