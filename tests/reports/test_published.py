"""Published figures: the shipped files against what they were copied from, and damaged files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.reports.published import COLUMNS, Figure, canonical, load_published
from support.helpers import ROOT

SHARED = ROOT.parent / "shared"
POSTER = SHARED / "paper" / "poster.txt"
ANCHORS = SHARED / "reference" / "ovss_anchors.md"
HEAD = ",".join(COLUMNS)
ROW = "SCLIP,none,CLIP ViT-B/16,voc21,sclip,all,miou,59.10,a paper,"


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


def test_what_the_poster_claims_over_training_free_systems_follows() -> None:
    rows = {(f.system, f.model, f.dataset): f.value for f in of_file("pnp_ovss")}
    gains = {"voc21": 26.2, "coco-object81": 20.5, "coco-stuff": 3.1, "ade20k": 3.0}
    for dataset, gain in gains.items():
        ours = rows["PnP-OVSS", "BLIP Flickr, 336 pixels", dataset]
        assert ours - rows["ReCo (by TCL)", "not stated", dataset] == pytest.approx(gain)


def test_names_of_data_sets_and_their_aliases() -> None:
    assert canonical("voc") == "voc21"
    assert canonical("coco-object") == "coco-object81"
    assert canonical("my-own", ["my-own"]) == "my-own"
    with pytest.raises(OvssError, match=r"unknown data set 'vco21'; did you mean 'voc21'\?"):
        canonical("vco21")


# The poster's own name of a system -> ours.
SYSTEMS = {
    "ViL-Seg [†] [43]": "ViL-Seg",
    "CLIPpy [51]": "CLIPpy",
    "SegClip [44]": "SegCLIP",
    "GroupVit (by [51])": "GroupViT (by CLIPpy)",
    "GroupVit (by [6])": "GroupViT (by TCL)",
    "GroupVit [74]": "GroupViT",
    "ViewCo [52]": "ViewCo",
    "OVSegmentor [75]": "OVSegmentor",
    "TCL [6] +PAMR [2]": "TCL + PAMR",
    "PACL [46]": "PACL",
    "MaskClip w/ ST [90]": "MaskCLIP with self-training",
    "MaskClip w/ ST (by [6])": "MaskCLIP with self-training (by TCL)",
    "ZeroSeg* [8]": "ZeroSeg*",
    "ZeroSeg [8]": "ZeroSeg",
    "MaskClip (by [51])": "MaskCLIP (by CLIPpy)",
    "MaskClip [90]": "MaskCLIP",
    "Reco [58]": "ReCo",
    "Reco (by [6])": "ReCo (by TCL)",
}
PRINTED = ("voc", "context", "coco-object", "coco-stuff", "ade20k")


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
            f.model if f.system == "PnP-OVSS" else f.system,
            next(printed for printed in PRINTED if f.dataset.startswith(printed)),
            f.text,
        )
        for f in figures
    }
    assert ours == in_the_poster()
    assert len(figures) == len(ours) == 79


@pytest.mark.skipif(not ANCHORS.is_file(), reason="the reference (../shared/reference) is not here")
def test_every_other_figure_is_in_the_reference() -> None:
    text = ANCHORS.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith(("| ", "CLIP-adjacent"))]
    for figure in of_file("training_free"):
        name = re.split(r" \(|, | \+ | or ", figure.system)[0].split("-bank")[0]
        rows = [line for line in lines if name in line]
        number = rf"(?<![\d.]){re.escape(figure.text)}(?![\d.]*\d)"
        hits = [line for line in rows if re.search(number, line)]
        assert hits, figure
        if not figure.verified:
            unsure = number + r"(\(L\))?\?"
            assert any(re.search(unsure, line) for line in hits), figure


def test_what_is_only_remembered_is_marked() -> None:
    remembered = [figure for figure in load_published() if not figure.verified]
    assert {figure.system for figure in remembered} == {
        *("CASS", "DiffSegmenter", "FreeDA", "SC-CLIP", "Talk2DINO + PAMR"),
    }
    assert all("remembered" in figure.source for figure in remembered)


def test_a_file_is_read(tmp_path: Path) -> None:
    write(tmp_path, ROW, 'GEM,none,"B, 16",coco-object,own (short),all,miou,7,"p, 3",unverified: x')
    first, second = load_published(tmp_path)
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
        ([ROW[:-1]], r"a row must have 10 cells"),
        ([ROW + ",more"], r"a row must have 10 cells"),
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
