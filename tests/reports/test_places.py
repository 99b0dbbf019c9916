"""Places: against a count written another way, and never across what cannot be compared."""

from __future__ import annotations

import math

import pytest

from ovsslib.reports.measured import load_measured
from ovsslib.reports.places import comparable, places
from ovsslib.reports.published import load_published
from support.results import STORED, figure


def test_places_of_everything_by_sorting() -> None:
    figures = load_measured([STORED]) + load_published()
    for one, place in zip(figures, places(figures), strict=True):
        alike = [
            other
            for other in figures
            if (other.kind, other.dataset, other.split, other.metric, other.protocol)
            == (one.kind, one.dataset, one.split, one.metric, one.protocol)
            and (other.supervision, other.filter) == (one.supervision, one.filter)
            and (other.images, other.limit, other.verified) == (one.images, one.limit, True)
        ]
        values = sorted((other.value for other in alike), reverse=True)
        if one.protocol == "own" or not one.verified or len(values) < 2:
            assert place is None
        else:
            assert place == (values.index(one.value) + 1, len(values))


def test_some_of_the_places() -> None:
    figures = load_published()
    found = {
        (f.system, f.model, f.dataset): place
        for f, place in zip(figures, places(figures), strict=True)
    }
    # SAM 3 is ranked with what was trained with masks only, whatever its value.
    assert found["SAM 3 (by ConceptBank)", "SAM 3", "voc21"] == (1, 2)
    assert found["ConceptBank", "SAM 3", "voc21"] is None
    assert found["PnP-OVSS", "BridgeTower, 336 pixels", "ade20k"] == (1, 3)
    assert found["RF-CLIP", "CLIP ViT-B/16", "voc21"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "published"},
        {"supervision": "masks"},
        {"filter": "all"},
        {"filter": "oracle (x=1)"},
        {"protocol": "tcl"},
        {"dataset": "ade20k"},
        {"split": "tune"},
        {"metric": "miou_stuff"},
        {"images": 9},
        {"limit": 9},
    ],
)
def test_unlike_figures_have_no_place_together(change: dict) -> None:
    assert places([figure(), figure(value=60.0)]) == [(2, 2), (1, 2)]
    assert places([figure(), figure(value=60.0, **change)]) == [None, None]


def test_what_cannot_be_ranked() -> None:
    assert comparable(figure(value=math.nan)) is None
    assert comparable(figure(supervision="")) is None
    assert comparable(figure("published", note="unverified: x")) is None
    assert comparable(figure("published", protocol="own")) is None
    assert comparable(figure("published", protocol="own (short side 448)")) is not None


def test_equal_values_share_the_better_place() -> None:
    values = [50.0, 60.0, 50.0, 40.0]
    assert places([figure(value=v) for v in values]) == [(2, 4), (1, 4), (2, 4), (4, 4)]
    assert places([]) == []
