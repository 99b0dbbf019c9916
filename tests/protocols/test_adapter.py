"""Methods other than PnP-OVSS under a protocol: windows and rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovsslib.datasets import LAYOUTS, load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.run import run
from ovsslib.evaluate.task import make_task
from ovsslib.protocols.adapter import Rules, Windowed, settle, windowed
from ovsslib.protocols.protocol import PROTOCOLS, get_protocol
from ovsslib.protocols.windows import Window
from support.colours import Colours
from support.helpers import write_photo, write_voc


def _halves(width: int = 120, height: int = 60) -> np.ndarray:
    """Left half red, right half green, a dark stripe at the bottom."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:40, : width // 2, 0] = image[:40, width // 2 :, 1] = 200
    return image


def test_windows_find_what_the_whole_picture_shows() -> None:
    method = Colours()
    seeing = Windowed(method, Window(short=60, crop=60, stride=30))
    image = _halves()
    found = seeing.segment(image, ["a", "b"])
    assert method.seen == [(60, 60)] * 3
    assert (found.labels == method.segment(image, ["a", "b"]).labels).all()
    assert found.planes.shape == (2, 60, 120)
    assert np.allclose(found.planes[0], image[..., 0] / 255)
    assert found.classes == ("a", "b")
    assert found.match == 0.5
    assert found.scores == pytest.approx((200 / 255, 200 / 255))


def test_planes_come_back_to_the_pictures_own_size(tmp_path: Path) -> None:
    method = Colours("probability")
    seeing = Windowed(method, Window(short=30, crop=20, stride=10))
    pictures = [_halves(), np.asarray(Image.open(write_photo(tmp_path / "a.jpg", (50, 90))))]
    first, second = seeing.segment_batch(pictures, [["a", "b"], []])
    assert set(method.seen) == {(20, 20)}
    assert max(method.batches) == 2
    assert first.labels.shape == (60, 120)
    assert (first.labels[5:35, :57] == 0).all()
    assert (first.labels[5:35, 63:] == 1).all()
    assert second.labels.shape == (90, 50)
    assert (second.labels == -1).all()
    assert second.planes.shape == (0, 90, 50)


def test_rules_apply_to_methods_that_give_scores_only() -> None:
    rules = Rules(background_plane=0.5)
    image = _halves()
    found = Windowed(Colours("probability"), None, rules).segment(image, ["a", "b"])
    assert set(np.unique(found.labels[40:])) == {-1}
    assert set(np.unique(found.labels[:40])) == {0, 1}
    high = Rules(background_plane=0.9)
    assert (Windowed(Colours("probability"), None, high).segment(image, ["a"]).labels == -1).all()
    plain = Windowed(Colours(), None, high).segment(image, ["a", "b"])
    assert (plain.labels == Colours().segment(image, ["a", "b"]).labels).all()


def test_the_scale_belongs_to_similarities() -> None:
    rules = Rules(logit_scale=40.0, prob_thd=0.6)
    found = Windowed(Colours("similarity"), None, rules).segment(_halves(), ["a", "b"])
    assert np.allclose(found.planes.sum(0), 1, atol=1e-5)
    assert set(np.unique(found.labels[40:])) == {-1}


def test_names_of_one_class_share_its_area() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    image[:9, :, 0], image[9, :5, 1], image[9, 5:, 2] = 200, 200, 200
    rules, names = Rules(area_thd=0.06), ["a", "b", "c"]
    one = Windowed(Colours("probability"), None, rules, {"a": 1, "b": 2, "c": 2})
    two = Windowed(Colours("probability"), None, rules, {"a": 1, "b": 2, "c": 3})
    assert one.segment(image, names).labels[9].tolist() == [1] * 5 + [2] * 5
    assert two.segment(image, names).labels[9].tolist() == [0] * 10


def test_a_protocol_without_windows_and_rules_leaves_a_method_alone(tmp_path: Path) -> None:
    data = load_dataset("voc", write_voc(tmp_path, 1))
    method = Colours()
    assert windowed(method, get_protocol("pnp-fixed"), data) is method
    seeing = windowed(method, get_protocol("sclip").resolved(data.name), data)
    assert isinstance(seeing, Windowed)
    assert (seeing.name, seeing.config) == ("colours", method.config)
    assert seeing.labels["ship"] == 4
    assert seeing.labels["person in dress"] == 15
    assert seeing.labels["curtain"] == 0
    assert seeing.rules.area_thd == 0.1


@pytest.mark.parametrize("name", ["pnp", "pnp-fixed", "tcl", "sclip"])
def test_a_run_under_every_protocol(name: str, tmp_path: Path) -> None:
    data = load_dataset("voc", write_voc(tmp_path, 3, size=(40, 30)))
    method = Colours("similarity" if name == "sclip" else "probability")
    result = run(method, make_task(data, protocol=name, filter="all"))
    assert len(result.ids) == 3
    assert result.protocol == get_protocol(name).resolved("voc21").to_dict()
    shapes = {"tcl": (448, 448), "sclip": (224, 224)}
    assert set(method.seen) == {shapes.get(name, (30, 40))}
    void = 30 * 3 if name != "pnp" else 0
    assert result.counts.truth.sum() + void >= 3 * 30 * 40
    assert result.counts.truth.sum() == result.counts.predicted.sum()


# ---- rules for planes, by hand


def test_softmax_with_the_scale_decides_what_is_uncertain() -> None:
    planes = np.float32([[[0.30, 0.25]], [[0.20, 0.25]]])
    labels, values = settle(planes, [1, 2], Rules(logit_scale=40.0, prob_thd=0.6))
    assert labels.tolist() == [[0, -1]]
    assert values[0, 0, 0] == pytest.approx(1 / (1 + np.exp(-4.0)), abs=1e-6)
    assert settle(planes, [1, 2], Rules(logit_scale=1.0, prob_thd=0.6))[0].tolist() == [[-1, -1]]


def test_a_constant_plane_wins_ties() -> None:
    planes = np.float32([[[0.5, 0.51, 0.2]]])
    labels, _ = settle(planes, [3], Rules(background_plane=0.5), "probability")
    assert labels.tolist() == [[-1, 0, -1]]


def test_a_pixel_that_no_name_has_is_background() -> None:
    planes = np.float32([[[0.0, 0.2]], [[0.0, 0.1]]])
    assert settle(planes, [1, 2], Rules(), "probability")[0].tolist() == [[-1, 0]]
    assert settle(planes, [1, 2], Rules())[0].tolist() == [[0, 0]]


def test_small_classes_give_their_pixels_to_the_next() -> None:
    """Class 2 has 1 of 11 object pixels, no more than a tenth: its pixel goes to its second."""
    planes = np.zeros((3, 1, 12), np.float32)
    planes[0, 0, :10] = 0.9  # class 1
    planes[1, 0, 10] = 0.8  # class 2
    planes[2, 0, 11] = 0.7  # a name of background
    planes[0, 0, 10] = 0.1
    labels, values = settle(planes, [1, 2, 0], Rules(area_thd=0.1), "probability")
    assert labels[0].tolist() == [0] * 11 + [2]
    assert not values[1].any()
    assert settle(planes, [1, 2, 0], Rules(area_thd=0.05), "probability")[0][0, 10] == 1


def test_the_names_of_a_class_share_its_area() -> None:
    planes = np.zeros((3, 1, 12), np.float32)
    planes[0, 0, :10] = 0.9
    planes[1, 0, 10] = planes[2, 0, 11] = 0.8
    together, _ = settle(planes, [1, 2, 2], Rules(area_thd=0.1), "probability")
    assert together[0, 10:].tolist() == [1, 2]
    apart, _ = settle(planes, [1, 2, 3], Rules(area_thd=0.1), "probability")
    assert apart[0, 10:].tolist() == [0, 0]


def test_no_names_and_unchanged_arguments() -> None:
    assert (settle(np.zeros((0, 2, 3), np.float32), [], Rules())[0] == -1).all()
    planes = np.float32([[[0.2]], [[0.4]]])
    before = planes.copy()
    settle(planes, [1, 2], Rules(logit_scale=5.0, area_thd=0.5, prob_thd=0.9))
    assert (planes == before).all()


def test_wrong_planes() -> None:
    with pytest.raises(OvssError, match="not 'final'"):
        settle(np.zeros((1, 1, 1)), [1], Rules(), "final")
    with pytest.raises(OvssError, match="1 planes but 2 names"):
        settle(np.zeros((1, 1, 1)), [1, 2], Rules())


def test_rules_of_protocols() -> None:
    sclip, tcl = get_protocol("sclip").resolved("voc21"), get_protocol("tcl").resolved("voc21")
    assert Rules.of(sclip, background=True) == Rules(65.0, 0.1, 0.1, None)
    assert Rules.of(tcl, background=True) == Rules(background_plane=0.5)
    assert Rules.of(tcl, background=False) == Rules()
    assert Rules.of(get_protocol("pnp-fixed"), background=True) == Rules()
    # VOC 21's threshold on VOC 20 would make background of pixels that can only be wrong there.
    assert Rules.of(sclip, background=False) == Rules(65.0, None, 0.1, None)


@pytest.mark.parametrize("data", [name for name, own in LAYOUTS.items() if not own.background])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_threshold_makes_background_where_there_is_none(name: str, data: str) -> None:
    protocol = get_protocol(name).resolved(data)
    assert protocol.prob_thd is None
    rules = Rules.of(protocol, background=False)
    planes = np.full((2, 1, 1), 0.01, np.float32)
    assert settle(planes, [1, 2], rules, "similarity")[0].tolist() == [[0]]
    assert settle(planes, [1, 2], rules, "probability")[0].tolist() == [[0]]
