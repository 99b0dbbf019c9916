"""A CLIP with a DINO beside it: one look at one image, one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.peers.dino import Dino
from ovsslib.peers.dino_clip import DinoClip
from support.tiny_dino import make_tiny_dino
from support.towers import micro, some_pixels

METHODS = ("proxyclip", "lposs", "cass", "clip-dinoiser")
DATA = load_dataset("diorama", None, "tune")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dino(tmp_path_factory.mktemp("models") / "dino")


@pytest.mark.parametrize("method", METHODS)
def test_segments_as_any_method_does(method: str, folder: Path) -> None:
    model = ovsslib.load(method, device="cpu", dino=str(folder), image_size=56)
    image, names = DATA.image(DATA.ids[0]), ["sky", "grass", "bus"]
    found, none = model.segment_batch([image, image], [names, []])
    assert found.labels.shape == (image.height, image.width)
    assert found.planes.shape == (3, *found.labels.shape)
    assert (found.labels == found.planes.argmax(0)).all()
    assert abs(found.planes).max() <= 1 + 1e-5
    assert (none.labels == -1).all()
    alone = model.segment(image, ["grass"])
    assert alone.planes.shape == (1, *found.labels.shape)


@pytest.mark.parametrize("method", METHODS)
def test_a_dino_that_is_not_here(method: str) -> None:
    with pytest.raises(OvssError, match=r"DINO model 'nothing' is not on this machine.*micro-dino"):
        ovsslib.load(method, dino="nothing")
    with pytest.raises(OvssError, match="dino must be str"):
        ovsslib.load(method, dino=3, download=True)
    with pytest.raises(OvssError, match=f"{method} has no presets"):
        ovsslib.load(method, preset="micro-blip")
    with pytest.raises(OvssError, match="unknown setting 'dinos'"):
        ovsslib.load(method, dinos="micro-dino")


@pytest.mark.parametrize("method", METHODS)
def test_a_dino_that_is_to_be_fetched(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(repo: str, *, download: bool) -> Path:
        asked.append((repo, download))
        raise OvssError(f"model {repo!r} is not on this machine")

    monkeypatch.setattr("ovsslib.peers.dino.hub_folder", fetch)
    with pytest.raises(OvssError, match=r"DINO model 'timm/vit_base_patch8_224\.dino'"):
        ovsslib.load(method, dino="vit_base_patch8_224.dino", download=True)
    assert asked == [("timm/vit_base_patch8_224.dino", True)]


def test_dino_sees_the_image_s_own_colours(folder: Path) -> None:
    tower = micro()
    method = DinoClip(tower, dino=Dino(str(folder), "cpu"))
    pixels = some_pixels(tower, 1)
    image = DATA.image(DATA.ids[0]).resize((112, 112), 3)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    assert torch.allclose(method.matcher.colours(pixels)[0], expected, atol=1e-5)
    with torch.no_grad():
        tokens = method.dino.features(expected[None]).tokens
        assert torch.allclose(method.dino_features(pixels).tokens, tokens, atol=1e-3)
