"""What a segmentation method returns."""

from __future__ import annotations

import dataclasses
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ovsslib.pnp.result import Segmentation


@pytest.fixture
def result() -> Segmentation:
    labels = np.array([[0, 1, 1], [-1, 1, 0]], np.int16)
    planes = np.zeros((3, 2, 3), np.float32)
    image = np.full((2, 3, 3), 128, np.uint8)
    return Segmentation(labels, planes, ("cat", "dog", "sky"), 0.5, (0.1, 0.2, 0.0), image)


def test_frozen_and_picklable(result: Segmentation) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.match = 1.0  # type: ignore[misc]
    assert (pickle.loads(pickle.dumps(result)).labels == result.labels).all()


def test_repr_is_short(result: Segmentation) -> None:
    assert len(repr(result)) < 200


def test_plot_names_the_classes(result: Segmentation) -> None:
    figure, ax = plt.subplots()
    try:
        assert result.plot(ax) is ax
        text = " ".join(item.get_text() for item in ax.get_figure().findobj(plt.Text))
        assert "cat" in text
        assert "dog" in text
    finally:
        plt.close(figure)
