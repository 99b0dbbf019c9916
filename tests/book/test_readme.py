"""README's table: from results files, between its markers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ovsslib.book.readme import (
    FOLDER,
    describe,
    fill,
    peers_table,
    render,
    short_table,
    table,
    write,
)
from ovsslib.errors import OvssError
from ovsslib.pnp.presets import PRESETS

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def record(miou: float, **other: object) -> dict[str, object]:
    figures = {
        "miou": {"value": miou, "low": miou - 0.02, "high": miou + 0.02},
        "miou_things": {"value": miou - 0.1, "low": 0.0, "high": 1.0},
        "miou_stuff": {"value": miou + 0.1, "low": 0.0, "high": 1.0},
    }
    config = {"salience": "gradcam", "rounds": 4, "blur": 0.05, "crf": True}
    base = {"vlm": "micro-blip", "dataset": "diorama", "split": "val", "filter": "oracle"}
    base |= {"method": "pnp-ovss", "protocol": {"name": "pnp-fixed"}}
    return {**base, "images": 200, "config": config, "metrics": figures, **other}


def test_a_row_is_the_record():
    row = table([record(0.5678)]).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "micro-blip",
        "attention × gradient, 4 rounds, blur, CRF",
        "diorama val, 200 images",
        "pnp-fixed",
        "those in the image",
        "56.8 [54.8, 58.8]",
        "46.8",
        "66.8",
    ]


def test_usual_protocol_first_then_given_classes_then_the_best():
    others = [record(0.9, protocol={"name": "tcl"}), record(0.3, filter="recorded")]
    rows = table([*others, record(0.4, filter="all"), record(0.1), record(0.5)]).splitlines()[2:]
    values = [row.split("|")[6].split()[0] for row in rows]
    assert values == ["50.0", "10.0", "40.0", "30.0", "90.0"]


def test_describe_leaves_out_what_is_off():
    assert describe({"salience": "random", "rounds": 1, "blur": 0, "crf": False}) == "random maps"
    assert describe({"salience": "attention", "rounds": 2}) == "attention, 2 rounds"


def test_fill_wants_both_markers():
    with pytest.raises(OvssError, match="once each"):
        fill(f"{BEGIN} only", "x")
    assert fill(fill(f"a {BEGIN}{END} b", "x"), "y") == fill(f"a {BEGIN}{END} b", "y")


def test_write_and_its_errors(tmp_path: Path):
    more = "<!-- peers:begin --><!-- peers:end -->"
    (tmp_path / "README.md").write_text(f"# Title\n{more}{BEGIN}\n{END}\nend\n")
    with pytest.raises(OvssError, match=r"no results in data/results: .*ovss run"):
        render(tmp_path)
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps(record(0.5)))
    text = write(tmp_path).read_text()
    assert "50.0 [48.0, 52.0]" in text
    assert text.endswith(f"{END}\nend\n")
    peer = record(0.4, method="naclip", vlm="micro-clip", config={})
    (folder / "peer.json").write_text(json.dumps(peer))
    results, systems = write(tmp_path).read_text().split("<!-- results:begin -->")[::-1]
    assert "naclip" not in results
    assert "| naclip" in systems
    (folder / "b.json").write_text("{}")
    with pytest.raises(OvssError, match=r"b\.json is not a results file"):
        render(tmp_path)


def test_systems_in_one_table():
    preset = PRESETS["micro-blip"].to_dict()
    rows = peers_table(
        [
            record(0.5, config=preset),
            record(0.1, config=preset, filter="all"),
            record(0.9, config={**preset, "crf": False}),
            record(0.8, config=preset, protocol={"name": "tcl"}),
            record(0.6, method="naclip", vlm="micro-clip", config={}),
            record(0.8, method="clipseg", vlm="c", config={}),
            record(0.7, method="groupvit", vlm="g", config={}),
            record(0.7, method="sclip", vlm="micro-clip", config={}, filter="all"),
        ]
    ).splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[0] for row in cells] == ["naclip", "pnp-ovss", "sclip", "groupvit", "clipseg"]
    assert cells[1] == ["pnp-ovss", "micro-blip", "image-text", "10.0", "", "", "50.0"]
    assert [row[2] for row in cells[3:]] == ["captions", "masks"]
    assert not peers_table([record(0.9, config={**preset, "crf": False})])


def test_the_short_table_has_the_best_of_each_kind():
    preset = PRESETS["micro-blip"].to_dict()

    def pair(miou, **other):
        return [record(miou, **other), record(miou / 2, **other, filter="all")]

    rows = short_table(
        [
            *pair(0.5, config=preset),
            *pair(0.6, method="naclip", vlm="micro-clip", config={}),
            *pair(0.7, method="sclip", vlm="micro-clip", config={}),
            *pair(0.3, method="groupvit", vlm="g", config={}),
            record(0.9, method="gem", vlm="micro-clip", config={}),  # with one filter only
        ]
    ).splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[0] for row in cells] == ["pnp-ovss", "sclip", "groupvit"]
    assert cells[1][2:] == ["image-text", "35.0 [33.0, 37.0]", "70.0 [68.0, 72.0]"]
