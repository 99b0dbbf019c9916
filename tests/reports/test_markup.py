"""The table as Markdown and HTML, read back."""

from __future__ import annotations

import re

from ovsslib.reports.markup import html, letter, markdown, terms
from ovsslib.reports.measured import load_measured
from ovsslib.reports.published import load_published
from ovsslib.reports.table import Table, build, select
from support.html_page import Page
from support.results import STORED, figure, stored


def everything() -> Table:
    return build(*select(load_measured([STORED]) + load_published()))


def markdown_tables(text: str) -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.M)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks]


def test_letters() -> None:
    letters = [letter(n) for n in range(800)]
    assert letters[:2] + letters[25:28] == ["a", "b", "z", "aa", "ab"]
    assert len(set(letters)) == 800


def test_markdown_of_everything() -> None:
    text = markdown(everything())
    measured, published = markdown_tables(text)
    for rows in (measured, published):
        assert len({len(row) for row in rows}) == 1
    assert "## Measured with this library: mIoU" in text
    assert "## Published figures: mIoU" in text
    assert re.search(rf"{re.escape(stored('miou'))}, \d+ of \d+ \(a\)", text)
    assert "- (a) 200 images\n" in text
    assert "micro" not in "".join(map("".join, published))
    row = next(r for r in published if r[0].strip() == "PnP-OVSS" and "336" in r[3])
    assert [cell.strip() for cell in row[2:7]] == [
        *("image-text", "BLIP Flickr, 336 pixels", "pnp", "gpt4o", "self-reported"),
    ]
    assert row[7].strip().startswith("51.3, 1 of 3 (")
    number = row[-1].strip().strip("\\[]")
    source = "poster of PnP-OVSS, Table 3; CVPR 2024 poster; 2024-06"
    assert re.search(rf"^{number}\. {source}$", text, re.M)
    assert text.endswith("published (--unverified shows them).\n")


def test_markdown_keeps_signs_and_lines() -> None:
    text = markdown(build([figure("published", system="a|b*\n_c", note="x | y")]))
    (rows,) = markdown_tables(text)
    assert rows[-1][0] == r" a\|b\* \_c "
    assert r"- (a) x \| y" in text
    assert "Measured with this library: nothing that matches." in text


def test_what_is_not_checked_is_marked() -> None:
    text = markdown(build([figure("published", note="unverified: remembered")]))
    assert "| 50.0 ? (a) |" in text


def test_terms_that_occur_are_explained_and_no_others() -> None:
    names = [name for name, _ in terms(everything())]
    assert "supervision masks of the target set" in names
    assert "class filter gpt4o" in names
    assert "tier third party" in names
    assert "supervision boxes" not in names
    few = [figure(filter="vlm (threshold=0.5)"), figure(filter="recorded:a.jsonl")]
    assert [name for name, _ in terms(build(few))] == [
        *("supervision image-text", "class filter recorded", "class filter vlm"),
    ]
    assert "- class filter vlm: the matching model first decides" in markdown(build(few))


def test_places_are_shown_and_what_has_none_has_none() -> None:
    table = build([figure(), figure(value=60.0, text="60.0"), figure(dataset="ade20k")])
    (rows,) = markdown_tables(markdown(table))
    assert [[cell.strip() for cell in row[-3:-1]] for row in rows[2:]] == [
        ["50.0, 2 of 2", "50.0"],
        ["60.0, 1 of 2", ""],
    ]


def test_html_of_everything() -> None:
    text = html(everything())
    page = Page(text)
    assert page.captions == ["Measured with this library: mIoU", "Published figures: mIoU"]
    for rows in page.tables:
        assert len({len(row) for row in rows}) == 1
    scopes = [attrs.get("scope") for tag, attrs in page.tags if tag == "th"]
    assert set(scopes) == {"col", "row"}
    assert scopes.count("row") == sum(len(rows) - 1 for rows in page.tables)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)
    # by itself: no other file, no script
    assert {"script", "link", "img"} & {tag for tag, _ in page.tags} == set()
    assert ("html", {"lang": "en"}) in page.tags
    assert sum(tag == "title" for tag, _ in page.tags) == 1


def test_html_and_markdown_say_the_same() -> None:
    table = everything()

    def plain(rows: list[list[str]], signs: str) -> list[list[str]]:
        return [[re.sub(signs, "", cell) for cell in row] for row in rows]

    ours = [
        plain(rows[:1] + rows[2:], r"[\\()\[\]\s]") for rows in markdown_tables(markdown(table))
    ]
    theirs = [plain(rows, r"[()\[\]\s]") for rows in Page(html(table)).tables]
    assert ours == theirs


def test_html_escapes_and_a_piece_of_a_page() -> None:
    table = build([figure(system="<b>&", source="<i>", note="1 < 2")], left_out=2)
    text = html(table, whole=False)
    assert text.startswith("<p>")
    assert "&lt;b&gt;&amp;" in text
    assert "<i>" not in text
    page = Page(text)
    assert page.tables[0][1][0] == "<b>&"
    assert "html" not in {tag for tag, _ in page.tags}
    assert "2 published" in text
