"""The lists of classes, against the official lists where those are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from ovsslib.errors import OvssError
from ovsslib.io.class_names import class_names, protocol_names, vocabulary
from support.helpers import ROOT, SHARED, needs_realdata

LISTS = {
    "diorama": 20,
    "voc20": 20,
    "context59": 59,
    "context59_voc_first": 59,
    "coco171": 171,
    "ade150": 150,
}
VOCAB = ROOT / "ovsslib" / "vocab"


def test_every_list_is_tested_here() -> None:
    assert {path.stem for path in VOCAB.glob("*.txt")} == set(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_names_are_clean_and_unique(name: str) -> None:
    """No list has two classes of one name; no name has the spaces that ADE's own list has."""
    names = class_names(name)
    assert len(set(names)) == len(names) == LISTS[name]
    for synonyms in vocabulary(name):
        assert all(word and word == word.strip() for word in synonyms)
        assert len(set(synonyms)) == len(synonyms)


@pytest.mark.parametrize("name", LISTS)
def test_every_list_says_where_it_comes_from(name: str) -> None:
    lines = (VOCAB / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# One class per line")
    assert lines[1].startswith("# ")


def test_lists_are_part_of_the_wheel() -> None:
    files = WheelBuilder(str(VOCAB.parents[1])).recurse_included_files()
    inside = {file.distribution_path for file in files}
    assert {f"ovsslib/vocab/{name}.txt" for name in LISTS} <= inside
    assert "ovsslib/vocab/protocols/sclip-voc.txt" in inside


def test_unknown_list() -> None:
    with pytest.raises(
        OvssError,
        match=r"unknown list of classes 'voc21'; did you mean 'voc20'\? Known: ade150, coco171",
    ):
        vocabulary("voc21")


def test_the_two_orders_of_context_hold_the_same_classes() -> None:
    """Alphabetical and VOC-first: other numbers, and three classes under other names."""
    ours, theirs = vocabulary("context59"), class_names("context59_voc_first")
    assert list(class_names("context59")) == sorted(class_names("context59"))
    assert all(sum(name in names for names in ours) == 1 for name in theirs)
    known = {name for names in ours for name in names}
    assert set(theirs) < known
    firsts = set(class_names("context59"))
    assert {name for name in theirs if name not in firsts} == {
        "diningtable", "pottedplant", "tvmonitor", "clothes", "bedcloth"
    }  # fmt: skip


def test_context_has_its_own_name_for_a_class_of_voc() -> None:
    """Its table is VOC's dining table; all other objects of VOC have the same name."""
    assert set(class_names("voc20")) - set(class_names("context59")) == {"dining table"}


def test_known_positions() -> None:
    """The numbers that the literature's results depend on, spelt out."""
    voc, context, coco, ade = map(class_names, ("voc20", "context59", "coco171", "ade150"))
    assert (voc[10], voc[14], voc[15], voc[19]) == (
        "dining table", "person", "potted plant", "tv monitor"
    )  # fmt: skip
    assert (context[0], context[14], context[36], context[58]) == (
        "aeroplane", "cat", "person", "wood"
    )  # fmt: skip
    assert (coco[0], coco[60], coco[79], coco[80], coco[170]) == (
        "person", "dining table", "toothbrush", "banner", "wood"
    )  # fmt: skip
    assert coco[80:].index("table") >= 0
    assert (ade[7], ade[12], ade[58], ade[63], ade[130], ade[149]) == (
        "bed", "person", "screen door", "blind", "screen", "flag"
    )  # fmt: skip


@needs_realdata
def test_context_is_the_official_mapping() -> None:
    folder = SHARED / "VOCdevkit" / "VOC2010"
    rows = [
        line.split("\t") for line in (folder / "context59_from_459.tsv").read_text().split("\n")
    ]
    names = [row[2] for row in rows[2:] if len(row) == 3]
    assert all(name in ours for name, ours in zip(names, vocabulary("context59"), strict=True))
    lines = (folder / "fcn_classes-59.txt").read_text().splitlines()[1:]
    assert [line.split(": ")[1] for line in lines] == list(class_names("context59_voc_first"))


@needs_realdata
def test_ade_is_the_official_list() -> None:
    lines = (SHARED / "ADEChallengeData2016" / "objectInfo150.txt").read_text().splitlines()[1:]
    official = [line.split("\t")[4].split(",") for line in lines if line.strip()]
    assert [list(names) for names in vocabulary("ade150")] == [
        [name.strip() for name in names] for names in official
    ]


@needs_realdata
def test_coco_is_the_official_list() -> None:
    from ovsslib.datasets.coco_stuff import ABSENT_IDS

    lines = (SHARED / "coco" / "cocostuff_labels.txt").read_text().splitlines()
    pairs = [(int(number), name) for number, name in (line.split(": ") for line in lines)]
    official = [name for number, name in pairs if number and number not in ABSENT_IDS]
    assert official == list(class_names("coco171"))


@pytest.mark.parametrize("path", sorted((VOCAB / "protocols").iterdir()), ids=lambda p: p.stem)
def test_names_of_protocols_say_where_they_come_from(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# Names of classes under a protocol")
    assert lines[1].startswith("# Source: ")
    names = protocol_names(path.stem)
    known = {name for kind in LISTS for name in class_names(kind)} | {"background"}
    assert set(names) <= known
    for words in names.values():
        assert words
        assert all(words)
        assert len(set(words)) == len(words)


def test_unknown_names_of_a_protocol() -> None:
    with pytest.raises(
        OvssError, match=r"names 'sclip'; did you mean .* Known: mmseg-ade20k, pnp-ade20k"
    ):
        protocol_names("sclip")
