"""Published figures: the shipped files against what they were copied from, and damaged files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.methods import SUPERVISION
from ovsslib.reports.published import (
    COLUMNS,
    ELSEWHERE,
    FILTERS,
    TIERS,
    Figure,
    canonical,
    load_published,
)
from support.helpers import ROOT

SHARED = ROOT.parent / "shared"
POSTER = SHARED / "paper" / "poster.txt"
REFERENCES = [
    SHARED / "reference" / f"{name}.md"
    for name in ("ovss_anchors", "trained_systems", "field_2026-11")
]
HEAD = ",".join(COLUMNS)
ROW = (
    "SCLIP,none,image-text,CLIP ViT-B/16,voc21,sclip,all,miou,59.10,"
    "self-reported,v1,2023-12,a paper,"
)


def of_file(name: str) -> list[Figure]:
    poster = [figure for figure in load_published() if figure.source.startswith("poster")]
    others = [figure for figure in load_published() if not figure.source.startswith("poster")]
    return poster if name == "pnp_ovss" else others


def write(folder: Path, *rows: str, head: str = HEAD) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "a.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_shipped_figures() -> None:
    assert {path.name for path in (ROOT / "data" / "paper").glob("*.csv")} == {
        "pnp_ovss.csv",
        "trained.csv",
        "training_free.csv",
    }
    figures = load_published()
    assert {figure.kind for figure in figures} == {"published"}
    assert {figure.split for figure in figures} == {"val"}
    paper = {
        (figure.model, figure.dataset): figure.text
        for figure in figures
        if figure.system == "PnP-OVSS"
    }
    assert len(paper) == 15
    assert paper["BLIP Flickr, 336 pixels", "voc21"] == "51.3"
    assert paper["BridgeTower, 336 pixels", "ade20k"] == "14.8"
    # as printed: neither rounded nor cut
    assert "59.63" in {figure.text for figure in figures}
    assert "18.0" in {figure.text for figure in figures}


def test_every_figure_says_how_it_was_come_by() -> None:
    for figure in load_published():
        assert figure.supervision in SUPERVISION
        assert figure.filter in FILTERS
        assert figure.tier in TIERS
        assert figure.version
        assert figure.date
        # Who measured a figure is in the system's name where it was not its authors.
        other = "(by " in figure.system or figure.system.startswith(("CLIP, patch", "GEM"))
        assert other or figure.tier == "self-reported", figure
        if "(by " in figure.system:
            assert figure.tier == "third party", figure


def test_masks_of_the_target_set_are_named_as_such() -> None:
    found = {
        (figure.system, figure.dataset)
        for figure in load_published()
        if figure.supervision == "masks of the target set"
    }
    assert {system for system, _ in found} == {"ConceptBank", "CorrCLIP"}
    assert {name for system, name in found if system == "CorrCLIP"} == {
        *("coco-object81", "coco-stuff"),
    }


def test_other_lists_of_classes_are_other_data_sets() -> None:
    found = {(f.system, f.dataset, f.text) for f in load_published() if f.dataset in ELSEWHERE}
    assert {
        ("CLIPpy", "coco133", "25.5"),
        ("MaskCLIP (by CLIPpy)", "coco133", "8.1"),
        ("ReCo", "coco-stuff27", "27.2"),
    } <= found
    assert ("CLIPpy", "coco-stuff") not in {(f.system, f.dataset) for f in load_published()}


def test_what_the_poster_claims_over_training_free_systems_follows() -> None:
    rows = {(f.system, f.model, f.dataset): f.value for f in of_file("pnp_ovss")}
    gains = {"voc21": 26.2, "coco-object81": 20.5, "coco-stuff": 3.1, "ade20k": 3.0}
    for dataset, gain in gains.items():
        ours = rows["PnP-OVSS", "BLIP Flickr, 336 pixels", dataset]
        assert ours - rows[
            "ReCo (by TCL)", "CLIP ViT-L/14@336 + DeiT-S/16", dataset
        ] == pytest.approx(gain)


def test_names_of_data_sets_and_their_aliases() -> None:
    assert canonical("voc") == "voc21"
    assert canonical("coco-object") == "coco-object81"
    assert canonical("my-own", ["my-own"]) == "my-own"
    with pytest.raises(OvssError, match=r"unknown data set 'vco21'; did you mean 'voc21'\?"):
        canonical("vco21")


# The poster's own name of a system -> ours; one row of the poster mixes two.
SYSTEMS = {
    "ViL-Seg [†] [43]": "ViL-Seg",
    "CLIPpy [51]": "CLIPpy",
    "SegClip [44]": "SegCLIP",
    "GroupVit (by [51])": "GroupViT (by SegCLIP)",
    "GroupVit (by [6])": "GroupViT (by TCL)",
    "GroupVit [74]": "GroupViT",
    "ViewCo [52]": "ViewCo",
    "OVSegmentor [75]": "OVSegmentor",
    "TCL [6] +PAMR [2]": "TCL + PAMR",
    "PACL [46]": "PACL",
    "MaskClip w/ ST [90]": "MaskCLIP with self-training",
    "MaskClip w/ ST (by [6])": "MaskCLIP (by TCL)",
    "ZeroSeg* [8]": "ZeroSeg*",
    "ZeroSeg [8]": "ZeroSeg",
    "MaskClip (by [51])": "MaskCLIP (by CLIPpy)",
    "MaskClip [90]": "MaskCLIP",
    "Reco [58]": "ReCo",
    "Reco (by [6])": "ReCo (by TCL)",
}
MIXED = {"GroupViT (by CLIPpy)": "GroupViT (by SegCLIP)"}
PRINTED = ("voc", "context", "coco-object", "coco-stuff", "ade20k")
AS_PRINTED = {"coco133": "coco-stuff"}


def in_the_poster() -> set[tuple[str, str, str]]:
    """(system, kind of data set, figure) of every figure in the poster's Table 3."""
    found = set()
    for line in POSTER.read_text(encoding="utf-8").splitlines():
        cells = line.split("\t")
        if len(cells) != 9 or not any(re.search(r"\d+\.\d+", cell) for cell in cells[4:]):
            continue  # no row of figures
        side = cells[3].strip()
        if "BLIP" in cells[0]:
            system = f"BLIP Flickr, {side} pixels"
        elif "BridgeTower" in cells[0]:
            system = f"BridgeTower, {side} pixels"
        else:
            system = SYSTEMS[cells[0].strip()]
        for printed, cell in zip(PRINTED, cells[4:], strict=True):
            if number := re.search(r"\d+\.\d+", cell):
                found.add((system, printed, number.group()))
    return found


@pytest.mark.skipif(not POSTER.is_file(), reason="the poster's text (../shared/paper) is not here")
def test_every_figure_of_the_poster_is_there_and_no_other() -> None:
    figures = of_file("pnp_ovss")
    ours = {
        (
            f.model if f.system == "PnP-OVSS" else MIXED.get(f.system, f.system),
            next(p for p in PRINTED if AS_PRINTED.get(f.dataset, f.dataset).startswith(p)),
            f.text,
        )
        for f in figures
    }
    assert ours == in_the_poster()
    assert len(figures) == len(ours) == 79


def reference_blocks() -> list[str]:
    """What names a system and its figures together: lines, and sections on one system."""
    anchors, trained, field = (path.read_text(encoding="utf-8") for path in REFERENCES)
    return [*anchors.splitlines(), *field.splitlines(), *re.split(r"^## ", trained, flags=re.M)]


HERE = all(path.is_file() for path in REFERENCES)
NAMES = {"SAM 3": "SAM3", "CLIP, patch tokens as they are": "CLIP"}


@pytest.mark.skipif(not HERE, reason="the references (../shared/reference) are not here")
def test_every_other_figure_is_in_a_reference_and_sure_where_it_is_shown() -> None:
    blocks = reference_blocks()
    for figure in of_file("others"):
        name = re.split(r" \((?:by|on|settings)|, |-bank| \+ ", figure.system)[0]
        name = NAMES.get(name, name)
        # 81.2 is also 81.20.
        number = rf"(?<![\d.]){re.escape(figure.text)}0?(?![\d.]*\d)"
        hits = [block for block in blocks if name in block and re.search(number, block)]
        assert hits, figure
        unsure = number + r"(\(L\))?( `\[recall\]`|\?)"
        sure = [block for block in hits if not re.search(unsure, block)]
        assert bool(sure) == figure.verified, figure


def first_word(name: str) -> str:
    return re.split(r"[ ,*(]", name.replace("SAM 3", "SAM3"))[0]


@pytest.mark.skipif(not HERE, reason="the references (../shared/reference) are not here")
def test_the_newest_table_of_the_references_is_there() -> None:
    text = REFERENCES[2].read_text(encoding="utf-8")
    table = re.search(r"^\| method \| V21 .*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    assert table
    rows = [[c.strip() for c in row.strip("|").split("|")] for row in table[1].splitlines()]
    sets = "voc21 context60 coco-object81 voc20 context59 coco-stuff cityscapes ade20k".split()
    ours = {(f.dataset, f.text, first_word(f.system)) for f in load_published()}
    for titles, *cells in rows:
        names = [first_word(name) for name in titles.split(" / ")]
        for dataset, cell in zip(sets, cells, strict=False):
            if dataset == "cityscapes" or cell == "-":
                continue
            for name, value in zip(names, cell.split(" / "), strict=True):
                assert (dataset, value, name) in ours


def test_what_is_only_remembered_is_marked() -> None:
    remembered = [figure for figure in load_published() if not figure.verified]
    assert {figure.system for figure in remembered} == {
        *("DiffSegmenter", "FreeDA", "SC-CLIP"),
    }
    for figure in remembered:
        assert (figure.source, figure.version) == ("none known; remembered", "from memory")
    assert remembered == [f for f in load_published() if f.version == "from memory"]


def test_a_file_is_read(tmp_path: Path) -> None:
    more = (
        'GEM,none,image-text,"B, 16",coco-object,own (short),own,miou,7,third party,v2,not known,'
    )
    write(tmp_path, ROW, more + '"p, 3",unverified: x')
    first, second = load_published(tmp_path)
    assert (first.supervision, first.filter, first.tier) == ("image-text", "all", "self-reported")
    assert (first.version, first.date, second.date) == ("v1", "2023-12", "not known")
    assert (first.text, first.value, first.note, first.verified) == ("59.10", 59.1, "", True)
    assert (second.dataset, second.model, second.source) == ("coco-object81", "B, 16", "p, 3")
    assert (second.protocol_name, second.verified) == ("own", False)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([ROW, ROW], r"a\.csv, line 3: SCLIP on voc21 is given twice"),
        ([ROW.replace("voc21", "vco21")], r"line 2: unknown data set 'vco21'; did you mean 'voc21"),
        ([ROW.replace("59.10", "high")], r"line 2: value 'high' is not a percentage"),
        ([ROW.replace("59.10", "nan")], r"value 'nan' is not a percentage"),
        ([ROW.replace("59.10", "591")], r"value '591' is not a percentage from 0 to 100"),
        ([ROW.replace("a paper", " ")], r"source is empty"),
        ([ROW.replace("sclip", "")], r"protocol is empty"),
        ([ROW.replace("v1", "")], r"version is empty"),
        ([ROW.replace("image-text", "pictures")], r"unknown supervision 'pictures'"),
        ([ROW.replace(",all,", ",al,")], r"unknown filter 'al'; did you mean 'all'\?"),
        ([ROW.replace("self-reported", "third")], r"unknown tier 'third'; did you mean 'third par"),
        ([ROW.replace("2023-12", "12/2023")], r"date '12/2023' is not a year, such as 2024"),
        ([ROW.replace("2023-12", "2023-13")], r"date '2023-13' is not a year"),
        ([ROW[:-1]], r"a row must have 14 cells"),
        ([ROW + ",more"], r"a row must have 14 cells"),
        (['SCLIP,"none'], r"a\.csv, line \d: not CSV"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: list[str], words: str) -> None:
    write(tmp_path, *rows)
    with pytest.raises(OvssError, match=words):
        load_published(tmp_path)


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="no published figures there"):
        load_published(tmp_path)
    path = write(tmp_path, ROW, head=HEAD.replace("source,", ""))
    with pytest.raises(OvssError, match=r"a\.csv: the columns must be system,training"):
        load_published(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OvssError, match=r"a\.csv, line 1: not text in UTF-8"):
        load_published(tmp_path)
