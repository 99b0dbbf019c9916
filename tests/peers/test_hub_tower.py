"""What dense methods need of a model of transformers: pixels and texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.peers.groupvit import GroupTower
from support.tiny_hub import make_groupvit, some_images


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> GroupTower:
    return GroupTower(str(make_groupvit(tmp_path_factory.mktemp("tower"))), "cpu")


def test_images_are_squashed_and_have_the_processor_s_colours(tower: GroupTower) -> None:
    image = some_images()[0]
    pixels = tower.prepare([image, some_images()[2]])
    assert pixels.shape == (2, 3, 48, 48)
    plain = np.asarray(image.resize((48, 48), Image.Resampling.BICUBIC), np.float64) / 255
    own = tower.processor.image_processor
    expected = (plain - np.array(own.image_mean)) / np.array(own.image_std)
    assert np.allclose(pixels[0].permute(1, 2, 0), expected, atol=1e-5)
    square = image.resize((48, 48))
    rows = own(square, return_tensors="pt")["pixel_values"]
    assert torch.allclose(tower.prepare([square]), rows, atol=1e-5)


@pytest.mark.parametrize(("wanted", "side"), [(None, 48), (50, 48), (60, 64), (1, 8)])
def test_sides_are_whole_patches(tower: GroupTower, wanted: int | None, side: int) -> None:
    assert tower.prepare(some_images()[:1], wanted).shape[-1] == side


def test_texts_are_means_of_unit_features(tower: GroupTower) -> None:
    sentences = ("a {}".format, "a picture of {}".format)
    found = tower.texts(["sky", "house", "sky"], sentences)
    for row, name in zip(found, ("sky", "house", "sky"), strict=True):
        total = np.zeros(24)
        for sentence in sentences:
            with torch.no_grad():
                own = tower.encode([sentence(name)])[0].double().numpy()
            total += own / np.linalg.norm(own)
        assert np.allclose(row, total / np.linalg.norm(total), atol=1e-5)
    many = tuple(f"{k} {{}}".format for k in range(70))
    assert tower.texts(["sky"], many).norm().item() == pytest.approx(1, abs=1e-5)
    assert tower.texts(["word " * 200], sentences).shape == (1, 24)


def test_texts_are_computed_once(tower: GroupTower, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = ("one {}".format,)
    first = tower.texts(["boat"], sentences)
    monkeypatch.setattr(tower, "encode", None)
    assert torch.equal(tower.texts(["boat", "boat"], sentences)[1:], first)
