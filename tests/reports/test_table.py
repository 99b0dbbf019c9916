"""The table: blocks that never mix, every run shown; data, Markdown and HTML read back."""

from __future__ import annotations

import io
import math
import re

import pandas as pd
import pytest

from ovsslib.errors import OvssError
from ovsslib.reports.measured import load_measured
from ovsslib.reports.published import load_published
from ovsslib.reports.table import (
    Table,
    build,
    frame,
    html,
    letter,
    markdown,
    remark,
    select,
)
from support.html_page import Page
from support.results import STORED, figure, stored


def test_blocks_never_mix() -> None:
    # alike in all but the kind
    table = build([figure("published"), figure(), figure("published", dataset="ade20k")])
    measured, published = table.blocks
    assert (measured.kind, published.kind) == ("measured", "published")
    assert measured.columns == ("voc21",)
    assert published.columns == ("voc21", "ade20k")
    for block in table.blocks:
        assert {f.kind for row in block.rows for f in row.cells.values()} == {block.kind}


def test_every_figure_is_in_exactly_one_cell_unchanged() -> None:
    figures = load_measured([STORED]) + load_published()
    table = build(figures)
    shown = [f for block in table.blocks for row in block.rows for f in row.cells.values()]
    assert sorted(map(id, shown)) == sorted(map(id, figures))


def test_two_runs_of_one_kind_are_two_rows_with_their_settings() -> None:
    one, two = figure(settings="aaaa"), figure(settings="bbbb", value=60.0)
    (block,) = build([one, two]).blocks
    assert [row.heads[-1] for row in block.rows] == ["aaaa", "bbbb"]
    # the same settings, measured twice: neither hides the other, and the file tells them apart
    again = figure(settings="aaaa", source="b.json")
    other = figure(settings="aaaa", dataset="ade20k")
    table = build([one, again, other])
    (block,) = table.blocks
    assert [set(row.cells) for row in block.rows] == [{"voc21", "ade20k"}, {"voc21"}]
    assert table.sources == ("a.json", "b.json")


def test_a_published_row_has_one_source() -> None:
    two = [figure("published", source=name, dataset=name) for name in ("voc21", "ade20k")]
    (block,) = build(two).blocks
    assert len(block.rows) == 2


def test_order_and_splits_of_columns() -> None:
    names = ["toy", "ade20k", "voc20", "voc21", "diorama", "context60"]
    figures = [figure(dataset=name) for name in names] + [figure(split="tune")]
    (block,) = build(figures).blocks
    assert block.columns == (
        *("diorama", "voc21", "voc21 tune", "context60", "voc20", "ade20k", "toy"),
    )


def test_remarks() -> None:
    assert remark(figure()) == ""
    assert remark(figure(images=200, failed=0, allowed_bad=0)) == "200 images"
    assert remark(figure(images=7, limit=8, failed=1)) == (
        "7 images; first 8 images only; 1 image could not be read"
    )
    assert remark(figure(images=197, failed=3, allowed_bad=5, note="beware")) == (
        "197 images; 3 images could not be read (accepted with --allow-bad 5); beware"
    )


def test_notes_and_sources_stand_once() -> None:
    table = build([figure(dataset=name, images=9) for name in ("voc21", "ade20k")])
    assert table.notes == ("9 images",)
    assert table.sources == ("a.json",)


def test_select() -> None:
    figures = [
        figure(),
        figure(protocol="own (short side 448)"),
        figure(dataset="toy"),
        figure(metric="miou_stuff"),
        figure("published", note="unverified: remembered"),
    ]
    assert select(figures) == (figures[:3], 1)
    assert select(figures, unverified=True) == (figures[:3] + figures[4:], 0)
    assert select(figures, metric="miou_stuff") == ([figures[3]], 0)
    assert select(figures, datasets=["voc"]) == (figures[:2], 1)
    assert select(figures, datasets=["toy", "ade20k"]) == ([figures[2]], 0)
    assert select(figures, protocols=["own"]) == ([figures[1]], 0)
    assert select(figures, protocols=["own (short side 448)"]) == ([figures[1]], 0)


def test_select_names_what_is_wrong() -> None:
    with pytest.raises(OvssError, match=r"unknown data set 'vco21'; did you mean 'voc21'"):
        select([figure()], datasets=["vco21"])
    with pytest.raises(OvssError, match=r"unknown protocol 'pnp-fixd'; did you mean 'pnp-fixed'"):
        select([figure()], protocols=["pnp-fixd"])
    with pytest.raises(OvssError, match="no result matches miou, ade20k, pnp-fixed; relax"):
        select([figure()], datasets=["ade20k"], protocols=["pnp-fixed"])


def test_a_table_shows_one_metric() -> None:
    with pytest.raises(OvssError, match="one metric, here are: miou, miou_stuff"):
        build([figure(), figure(metric="miou_stuff")])
    with pytest.raises(OvssError, match="here are: none"):
        build([])


def test_figures_as_data() -> None:
    figures = load_measured([STORED]) + load_published()
    text = frame(figures).to_csv(index=False)
    table = pd.read_csv(io.StringIO(text))
    assert len(table) == len(figures)
    assert set(table["kind"]) == {"measured", "published"}
    assert table["value"].tolist() == pytest.approx([f.value for f in figures])
    published = table[table["kind"] == "published"]
    assert published[["low", "images", "failed", "settings"]].isna().all().all()
    assert published["source"].notna().all()
    assert published["protocol"].notna().all()
    measured = table[table["kind"] == "measured"]
    assert (measured["failed"] == 0).all()
    assert (measured["low"] <= measured["value"]).all()
    assert math.isnan(frame([figure(value=math.nan)])["value"][0])


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
    assert f"{stored('miou')} (" in text
    assert "- (a) 200 images\n" in text
    assert "micro" not in "".join(map("".join, published))
    row = next(r for r in published if r[0].strip() == "PnP-OVSS" and "336" in r[2])
    assert row[3].strip() == "pnp"
    assert row[5].strip().startswith("51.3")
    number = row[-1].strip().strip("\\[]")
    assert re.search(rf"^{number}\. poster of PnP-OVSS, Table 3$", text, re.M)
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
