"""The table: blocks that never mix, every run shown, rows by supervision; data read back."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest

from ovsslib.errors import OvssError
from ovsslib.methods import SUPERVISION
from ovsslib.reports.measured import load_measured
from ovsslib.reports.places import places
from ovsslib.reports.published import load_published
from ovsslib.reports.table import build, cells, frame, remark, select
from support.results import STORED, figure


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


def test_rows_are_ordered_by_supervision_and_filter() -> None:
    table = build(load_measured([STORED]) + load_published())
    known = [*SUPERVISION]
    for block in table.blocks:
        found = [(f.supervision, f.filter) for row in block.rows for f in row.figures]
        ranks = [(known.index(name), filter_ != "all", filter_) for name, filter_ in found]
        assert ranks == sorted(ranks)
    # within, the order in which they came
    names = ["b", "a", "c"]
    (block,) = build([figure(system=name, settings=name) for name in names]).blocks
    assert [row.heads[0] for row in block.rows] == names
    # what is not known stands last
    (block,) = build([figure(supervision="", system="x"), figure(supervision="masks")]).blocks
    assert [row.heads[0] for row in block.rows] == ["pnp-ovss", "x"]


def test_every_figure_has_its_own_place() -> None:
    figures = load_measured([STORED]) + load_published()
    table = build(figures)
    wanted = {id(f): place for f, place in zip(figures, places(figures), strict=True)}
    for block in table.blocks:
        for row in block.rows:
            assert {title: wanted[id(f)] for title, f in row.cells.items() if wanted[id(f)]} == (
                row.places
            )
            assert [row.cells[t] for t in block.columns if t in row.cells] == cells(block, row)


def test_a_source_has_its_version_and_date() -> None:
    one = figure("published", source="a paper", version="v2", date="2024-06")
    other = figure("published", source="a paper", version="v1", date="2024-03")
    table = build([one, other, figure()])
    assert table.sources == ("a.json", "a paper; v2; 2024-06", "a paper; v1; 2024-03")
    assert [len(block.rows) for block in table.blocks] == [1, 2]


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


def test_data_have_places_and_no_other_columns_than_documented() -> None:
    table = frame([figure(value=40.0), figure(), figure(dataset="ade20k")])
    assert table["place"].tolist()[:2] == [2, 1]
    assert table["among"].tolist()[:2] == [2, 2]
    assert table[["place", "among"]].iloc[2].isna().all()
    assert {"supervision", "tier", "version", "date"} <= {*table.columns}
    assert "text" not in table.columns
    assert len(frame([])) == 0
