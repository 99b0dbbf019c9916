"""What a protocol decides, and scoring by look-up table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ovsslib.datasets import LAYOUTS, load_dataset
from ovsslib.errors import OvssError
from ovsslib.metrics import boundary
from ovsslib.pnp.config import PnPConfig
from ovsslib.protocols.protocol import PROTOCOLS, Protocol, get_protocol
from ovsslib.protocols.windows import Window
from support.helpers import ROOT, tiny_blip, write_voc  # noqa: F401 - a fixture

PNP = get_protocol("pnp-fixed")
RESULTS = ROOT / "data" / "results"


def test_background_rule_and_headline_follow_the_data_set(tmp_path: Path) -> None:
    write_voc(tmp_path, 1)
    diorama, voc = load_dataset("diorama", tmp_path), load_dataset("voc", tmp_path)
    assert (PNP.background(diorama), PNP.background(voc)) == ("few", "always")
    assert PNP.scored_classes(diorama) == tuple(range(1, 21))
    assert PNP.scored_classes(voc) == tuple(range(21))


def test_labels_go_through_one_table() -> None:
    """Ids that would chain when renamed in place: 15 and 1, then 1 and 15."""
    labels = np.array([[-1, 0, 1]])
    truth = np.array([[0, 15, 1]])
    for looked_for in ((15, 1), (1, 15)):
        order = np.array([[-1, *(looked_for.index(k) for k in (15, 1))]])
        counts = PNP.tally(order, looked_for, truth, 20).counts
        assert counts.intersection[0, [0, 1, 15]].tolist() == [1, 1, 1]
    assert PNP.tally(labels, (1, 15), truth, 20).counts.intersection.sum() == 1


def test_names_of_one_label_and_of_background_count_together() -> None:
    labels = np.array([[0, 1, 2, 3, -1]])
    counts = PNP.tally(labels, (0, 0, 3, 3), np.array([[0, 0, 3, 3, 0]]), 5).counts
    assert counts.intersection[0].tolist() == [3, 0, 0, 2, 0, 0]


def test_void_is_left_out() -> None:
    counts = PNP.tally(np.array([[0, 0]]), (3,), np.array([[3, 255]]), 5).counts
    assert counts.predicted.sum() == counts.truth.sum() == 1


def test_void_is_background_under_the_released_rules() -> None:
    labels, truth = np.array([[0, 0, -1]]), np.array([[3, 255, 255]])
    counts = get_protocol("pnp").tally(labels, (3,), truth, 5).counts
    assert counts.truth[0].tolist() == [2, 0, 0, 1, 0, 0]
    assert counts.intersection[0].tolist() == [1, 0, 0, 1, 0, 0]
    assert truth.tolist() == [[3, 255, 255]]


def test_boundaries_are_scored_by_the_same_rules() -> None:
    truth = np.repeat([[0] * 10 + [255] * 2 + [3] * 10], 20, axis=0)
    labels = np.where(truth == 3, 0, -1)
    for name, table in (("pnp-fixed", truth), ("pnp", np.where(truth == 255, 0, truth))):
        found = get_protocol(name).tally(labels, (3,), truth, 5).boundary
        expected = boundary.counts(np.where(labels == 0, 3, 0), table, 6)
        assert found.intersection.tolist() == expected.intersection.tolist()
        assert (found.intersection == found.truth).all()


def test_no_class_looked_for_is_all_background() -> None:
    counts = PNP.tally(np.full((2, 2), -1), (), np.full((2, 2), 1), 3).counts
    assert counts.predicted[0].tolist() == [4, 0, 0, 0]


def test_wrong_label_maps() -> None:
    with pytest.raises(OvssError, match="differ in shape"):
        PNP.tally(np.zeros((2, 2), int), (1,), np.zeros((3, 2), int), 2)
    with pytest.raises(OvssError, match="holds 1, outside its 1 classes"):
        PNP.tally(np.ones((1, 1), int), (1,), np.zeros((1, 1), int), 2)
    with pytest.raises(OvssError, match="holds -2, outside its 4 classes"):
        PNP.tally(np.array([[3, -2]]), (1, 2, 3, 4), np.zeros((1, 2), int), 5)


def test_unknown_protocol() -> None:
    with pytest.raises(OvssError, match="did you mean 'pnp-fixed'"):
        get_protocol("pnp-fixd")


# --- values of the sources -----------------------------------------------------------------------


def test_released_rules_count_as_many_classes_as_the_released_code() -> None:
    sizes = {"voc21": 21, "voc20": 21, "context60": 60, "context59": 60, "ade20k": 151}
    sizes |= {"coco-object81": 81, "coco-object-instances": 81, "coco-stuff": 172}
    protocol = get_protocol("pnp")
    for name, size in sizes.items():
        here = protocol.resolved(name)
        assert len(here.scored_classes(LAYOUTS[name])) == size
        assert (here.void, here.absent) == ("background", "drop")
        always = name.startswith(("voc", "coco-object"))
        assert here.background(LAYOUTS[name]) == ("always" if always else "few"), name


def test_windows_of_tcl_and_sclip() -> None:
    tcl, sclip = get_protocol("tcl"), get_protocol("sclip")
    assert {tcl.resolved(name).window for name in LAYOUTS} == {Window(448, 448, 224, 2048)}
    for name in LAYOUTS:
        short = 448 if name == "coco-stuff" else 336
        assert sclip.resolved(name).window == Window(short, 224, 112, 2048)
        assert (sclip.absent, sclip.void) == ("count", 255)


@pytest.mark.parametrize(
    ("name", "scale", "threshold", "area"),
    [
        ("voc21", 65, 0.1, 0.1),
        ("context60", 50, 0.1, None),
        ("coco-object81", 50, 0.1, None),
        ("voc20", 40, None, None),
        ("context59", 40, None, None),
        ("coco-stuff", 40, None, None),
        ("ade20k", 40, None, None),
        ("diorama", 40, None, None),
    ],
)
def test_thresholds_of_sclip(
    name: str, scale: float, threshold: float | None, area: float | None
) -> None:
    here = get_protocol("sclip").resolved(name)
    assert (here.logit_scale, here.prob_thd, here.area_thd) == (scale, threshold, area)
    assert here.background_plane is None
    assert get_protocol("tcl").resolved(name).background_plane == 0.5


def test_variants_name_data_sets_and_fields_that_exist() -> None:
    fields = {field.name for field in dataclasses.fields(Protocol)}
    for protocol in PROTOCOLS.values():
        assert {name for name, _ in protocol.variants} <= set(LAYOUTS)
        assert all({key for key, _ in values} <= fields for _, values in protocol.variants)
        for name, layout in LAYOUTS.items():
            here = protocol.resolved(name)
            assert here.resolved(name) == here
            known = {*layout.classes, "background"}
            assert set(here._names()) <= known, (protocol.name, name)
            hash(here)


# --- names ---------------------------------------------------------------------------------------


def _all(protocol: str, name: str) -> dict[int, list[str]]:
    layout = LAYOUTS[name]
    told = (
        get_protocol(protocol)
        .resolved(layout.name)
        .expand(layout, range(1, len(layout.classes) + 1))
    )
    names: dict[int, list[str]] = {}
    for label, word in zip(*told, strict=True):
        names.setdefault(label, []).append(word)
    return names


@pytest.mark.parametrize("name", LAYOUTS)
def test_mended_rules_say_the_data_sets_own_names(name: str) -> None:
    layout = LAYOUTS[name]
    assert _all("pnp-fixed", name) == {k: [word] for k, word in enumerate(layout.classes, 1)}


def test_sclip_gives_classes_and_background_several_names() -> None:
    voc = _all("sclip", "voc21")
    assert len(voc[0]) == 26
    assert (voc[0][0], voc[0][-1]) == ("sky", "fence")
    assert (voc[4], voc[11], voc[16]) == (["ship"], ["table"], ["pottedplant"])
    assert len(voc[15]) == 7
    assert voc[20] == ["television monitor", "tv monitor", "monitor", "television", "screen"]
    assert 0 not in _all("sclip", "voc20")
    assert _all("sclip", "context60")[0] == ["background"]
    assert 0 not in _all("sclip", "context59")
    assert _all("sclip", "coco-stuff")[10] == ["trafficlight"]
    assert _all("sclip", "ade20k")[90] == ["televisionreceiver"]
    assert _all("sclip", "ade20k")[45] == ["chestofdrawers"]
    assert _all("sclip", "diorama")[1] == [LAYOUTS["diorama"].classes[0]]


def test_a_bed_is_background_to_sclip() -> None:
    """COCO-Object's class shares its only name with background, which comes first."""
    names = _all("sclip", "coco-object81")
    assert "bed" in names[0]
    bed = LAYOUTS["coco-object81"].classes.index("bed") + 1
    assert bed not in names
    assert len(names[1]) == 8
    assert len(names) == 80


def test_released_names() -> None:
    assert _all("pnp", "voc21")[11] == ["table"]
    ade = _all("pnp", "ade20k")
    assert (ade[14], ade[87], ade[139]) == (["ground"], ["sunshade"], ["trash can"])
    assert ade[59] == ["screen"]
    assert 131 not in ade
    stuff = LAYOUTS["coco-stuff"].classes.index("building-other") + 1
    assert _all("pnp", "coco-stuff")[stuff] == ["buildingother"]
    assert _all("tcl", "voc21")[20] == ["tvmonitor"]
    assert _all("tcl", "ade20k")[90] == ["television receiver"]


@pytest.mark.parametrize("name", ["voc21", "ade20k", "diorama"])
def test_no_class_found(name: str) -> None:
    """The released code then looks for the first class; others for none, or for background."""
    layout = LAYOUTS[name]
    assert get_protocol("pnp").resolved(layout.name).expand(layout, ()) == (
        (1,),
        layout.classes[:1],
    )
    assert PNP.resolved(layout.name).expand(layout, ()) == ((), ())
    labels, _ = get_protocol("sclip").resolved(layout.name).expand(layout, ())
    assert labels == ((0,) * 26 if name == "voc21" else ())


def test_order_of_the_filter_is_kept() -> None:
    assert PNP.expand(LAYOUTS["voc21"], (8, 3)) == ((8, 3), ("cat", "bird"))


def test_names_without_spaces_stay_different() -> None:
    data = SimpleNamespace(name="toy", background=False, classes=("hot dog", "hotdog"))
    squeezed = dataclasses.replace(PNP, name_spaces=False)
    assert squeezed.resolved(data.name).expand(data, (1, 2)) == ((1,), ("hotdog",))


# --- what is stored ------------------------------------------------------------------------------


def test_stored_results_keep_their_protocol() -> None:
    """Later fields are written where they are not the default: names of results stay."""
    record = PNP.resolved("diorama").to_dict()
    assert list(record) == [
        "name", "resize", "scored_at", "void", "background_covered", "background_uncovered",
        "absent",
    ]  # fmt: skip
    stored = [json.loads(path.read_text())["protocol"] for path in RESULTS.glob("*.json")]
    assert record in stored


def test_every_rule_of_a_data_set_is_stored() -> None:
    record = get_protocol("sclip").resolved("coco-stuff").to_dict()
    assert record["window"] == {"short": 448, "crop": 224, "stride": 112, "longest": 2048}
    assert record["logit_scale"] == 40.0
    assert json.loads(json.dumps(record)) == record
    texts = {json.dumps(get_protocol("sclip").resolved(name).to_dict()) for name in LAYOUTS}
    assert len(texts) == len(LAYOUTS) - 1  # the two kinds of COCO-Object share theirs


# --- PnP-OVSS under all of them ------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_pnp_ovss_runs_under_every_protocol(
    name: str,
    tiny_blip: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    from ovsslib.evaluate.run import run_configs
    from ovsslib.evaluate.task import make_task
    from ovsslib.vlm import load_vlm

    config = PnPConfig(layer=1, head=None, rounds=2, patches_per_round=4, crf=False)
    work = make_task(load_dataset("voc", write_voc(tmp_path, 2)), protocol=name)
    picture = work.read(work.ids[0])
    assert len(picture.classes) == len(picture.looked_for)
    result = run_configs(load_vlm(tiny_blip, "cpu"), {"run": config}, work)["run"]
    pixels = 2 * 48 * 36
    assert result.counts.predicted.sum() == result.counts.truth.sum()
    assert (result.counts.truth.sum() == pixels) == (name == "pnp")
    assert result.protocol["name"] == name
    assert result.config["background"] == "always"
