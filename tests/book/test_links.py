"""Links that lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovsslib.book.links import dead_links


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.html").write_text('<h1 id="top">Two</h1><a href="../one.html#x">1</a>')
    (tmp_path / "a.css").write_text("")
    return tmp_path


def write(pages: Path, html: str) -> list[str]:
    (pages / "one.html").write_text(f'<p id="x">One</p>{html}')
    return dead_links(pages)


def test_links_that_resolve(pages: Path) -> None:
    links = ["#x", "#", "b/two.html#top", "b/two.html", "a.css", "https://example.org/#none"]
    html = "".join(f'<a href="{link}">a</a>' for link in links)
    assert write(pages, f'{html}<img src="data:image/png;base64,AA"><link href="a.css?v=1">') == []


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="#y">a</a>', "a link to #y, which has no such place"),
        ('<a href="b/two.html#y">a</a>', "a link to b/two.html#y, which has no such place"),
        ('<a href="three.html">a</a>', "a link to three.html, which is not there"),
        ('<img src="c.png">', "a link to c.png, which is not there"),
        (
            '<script src="https://example.org/a.js"></script>',
            "loads https://example.org/a.js from the network",
        ),
        ('<link href="//example.org/a.css">', "loads //example.org/a.css from the network"),
    ],
)
def test_what_does_not_resolve_is_named(pages: Path, html: str, fault: str) -> None:
    assert write(pages, html) == [f"one.html: {fault}"]
