"""OVSegmentor is read as a GroupViT, with thresholds of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.peers.groupvit import GroupTower, GroupVit, GroupVitConfig
from ovsslib.peers.ovsegmentor import OvSegmentor
from support.tiny_hub import make_groupvit, some_images


def test_it_is_read_as_a_groupvit(tmp_path: Path) -> None:
    tower = GroupTower(str(make_groupvit(tmp_path / "model")), "cpu")
    image, names = some_images()[0], ["sky", "grass", "house"]
    found, same = (kind(tower).segment(image, names) for kind in (OvSegmentor, GroupVit))
    assert np.array_equal(found.planes, same.planes)


@pytest.mark.parametrize(("name", "value"), [("voc21", 0.95), ("coco-object81", 0.9)])
def test_thresholds_are_its_own(tmp_path: Path, name: str, value: float) -> None:
    tower = GroupTower(str(make_groupvit(tmp_path / "model")), "cpu")
    method = OvSegmentor(tower, GroupVitConfig(background_threshold=name))
    assert method.threshold == value
