"""After ViewCo is read as a GroupViT; the model it takes is its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ovsslib.methods import default_model
from ovsslib.peers.after_viewco import AfterViewCo
from ovsslib.peers.groupvit import GroupTower, GroupVit
from support.tiny_hub import make_groupvit, some_images


def test_it_is_read_as_a_groupvit(tmp_path: Path) -> None:
    tower = GroupTower(str(make_groupvit(tmp_path / "model")), "cpu")
    image, names = some_images()[0], ["sky", "grass", "house"]
    found, same = (kind(tower).segment(image, names) for kind in (AfterViewCo, GroupVit))
    assert np.array_equal(found.planes, same.planes)


def test_its_model_is_its_own() -> None:
    assert default_model(AfterViewCo.name) == "micro-after-viewco"
