"""Figures: what is drawn where, on white."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

import matplotlib.pyplot as plt
import pytest

from ovsslib.draw import plots
from ovsslib.draw.colours import class_colours

IMAGE = np.full((30, 40, 3), 90, np.uint8)
LABELS = np.full((30, 40), -1, np.int16)
LABELS[:10, :20] = 1


@pytest.fixture(autouse=True)
def _close() -> object:
    yield
    plt.close("all")


def test_overlay_legend_names_the_classes_found() -> None:
    ax = plots.overlay(IMAGE, LABELS, ["cat", "grass"], title="a cat?")
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["grass 17 %"]
    colour = legend.get_patches()[0].get_facecolor()[:3]
    assert colour == pytest.approx(tuple(class_colours(["cat", "grass"])[1] / 255))
    assert ax.get_title() == "a cat?"
    assert ax.figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)


def test_a_short_legend_names_the_largest_classes() -> None:
    labels = LABELS.copy()
    labels[20:] = 0
    labels[15, :3] = 2
    legend = plots.overlay(IMAGE, labels, ["cat", "grass", "sky"], most=2).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["cat 33 %", "grass 17 %"]


def test_overlay_draws_into_given_axes() -> None:
    ax = plt.subplots()[1]
    assert plots.overlay(IMAGE, LABELS, ["cat", "grass"], ax=ax) is ax
    assert (ax.images[0].get_array() != 90).any()


def test_overlay_without_classes_has_no_legend() -> None:
    assert plots.overlay(IMAGE, np.full((30, 40), -1), ["cat"]).get_legend() is None


def test_heatmap_is_stretched_over_the_image() -> None:
    ax = plots.heatmap(np.eye(4), image=IMAGE, limits=(0.0, 2.0))
    assert ax.images[1].get_extent() == [-0.5, 39.5, 29.5, -0.5]
    assert ax.images[1].get_clim() == (0.0, 2.0)
