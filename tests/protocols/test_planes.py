"""Thresholds on planes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.protocols.planes import Rules, settle
from ovsslib.protocols.protocol import get_protocol


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
