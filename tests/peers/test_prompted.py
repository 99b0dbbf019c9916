"""Planes of probabilities become labels, with planes that are known."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.peers.prompted import Prompted, PromptedConfig
from ovsslib.protocols.adapter import windowed
from ovsslib.protocols.protocol import Protocol
from ovsslib.protocols.windows import Window

VALUES = {"a": 0.6, "b": 0.3, "c": 0.0}


class Known(Prompted):
    """The left half of every image is each name's own value, the right half 0.2 of it."""

    name = "known"

    def planes(self, image: Image.Image, names: Sequence[str]) -> np.ndarray:
        """(K, 1, 2)."""
        assert len(set(names)) == len(names) > 0
        return np.float32([[[VALUES[name], 0.2 * VALUES[name]]] for name in names])


def known(**settings: float) -> Known:
    return Known(SimpleNamespace(name="known"), PromptedConfig(**settings))


def test_the_highest_plane_wins_where_it_reaches_the_threshold() -> None:
    image = Image.new("RGB", (4, 3))
    found = known(threshold=0.5).segment(image, ["b", "a"])
    assert found.labels.tolist() == [[1, -1, -1, -1]] * 3
    assert found.planes[:, 0].tolist() == pytest.approx(
        np.float32([[0.3, 0.24, 0.12, 0.06], [0.6, 0.48, 0.24, 0.12]]), abs=1e-6
    )
    assert found.scores == pytest.approx((0.0, 0.6))
    low = known(threshold=0.05).segment(image, ["b", "a"])
    assert (low.labels == 1).all()
    assert (known(threshold=0.7).segment(image, ["b", "a"]).labels == -1).all()


def test_what_nothing_speaks_for_is_background_whatever_the_threshold() -> None:
    image = Image.new("RGB", (4, 3))
    assert (known(threshold=0.0).segment(image, ["c"]).labels == -1).all()
    assert (known(threshold=0.0).segment(image, ["c", "b"]).labels == 1).all()


def test_names_are_given_once_and_there_may_be_none() -> None:
    model = known(threshold=0.1)
    found, none = model.segment_batch([Image.new("RGB", (2, 1))] * 2, [["b", "a"], []])
    assert found.labels.tolist() == [[1, 1]]
    with pytest.raises(OvssError, match="'A' is given twice"):
        model.segment_batch([Image.new("RGB", (2, 1))], [["a", "A"]])
    assert none.labels.tolist() == [[-1, -1]]
    assert none.planes.shape == (0, 1, 2)
    with pytest.raises(ValueError, match="zip"):
        model.segment_batch([Image.new("RGB", (2, 1))], [])


def test_a_protocol_s_rules_decide_on_background() -> None:
    from ovsslib.datasets import load_dataset

    data = load_dataset("diorama")
    rules = Protocol("mine", area_thd=0.0)
    shown = windowed(known(threshold=0.9), rules, data)
    assert shown.segment(Image.new("RGB", (4, 3)), ["b", "a"]).labels.min() == 1
    shown = windowed(known(threshold=0.9), Protocol("mine", window=Window(4, 4, 2)), data)
    assert shown.segment(Image.new("RGB", (9, 5)), ["b", "a"]).labels.min() == 1


def test_what_it_refuses() -> None:
    with pytest.raises(OvssError, match="threshold must be float from 0 to 1, got 2"):
        PromptedConfig(threshold=2)
    assert PromptedConfig().to_dict() == {"threshold": 0.5}
    assert PromptedConfig().hash() != PromptedConfig(threshold=0.4).hash()
