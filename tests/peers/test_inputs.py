"""Images and names as models take them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from ovsslib.peers import inputs
from ovsslib.peers.inputs import Texts, squashed, standardised


def test_images_are_squashed_whole() -> None:
    image = Image.new("RGB", (6, 2), (10, 20, 30))
    image.putpixel((0, 0), (250, 0, 0))
    found = squashed([image, image], 4, torch.device("cpu"), 0)
    assert found.shape == (2, 3, 4, 4)
    nearest = np.asarray(image.resize((4, 4), Image.Resampling.NEAREST), np.float32)
    assert np.array_equal(found[0].permute(1, 2, 0).numpy(), nearest)
    changed = standardised(found, [10, 20, 30], [1, 2, 4])
    assert changed[0, :, 3, 3].tolist() == [0, 0, 0]
    assert changed[0, :, 0, 0].tolist() == [240, -10, -7.5]


def test_names_are_encoded_once_and_in_batches(monkeypatch) -> None:
    seen: list[list[str]] = []

    def encode(texts):
        seen.append(list(texts))
        return torch.tensor([[float(len(text)), 3.0] for text in texts])

    monkeypatch.setattr(inputs, "BATCH", 3)
    texts, templates = Texts(encode), [str, "a {}".format]
    found = texts(["cat", "house", "cat"], templates)
    again = texts(["house", "tree"], templates)
    assert seen == [["cat", "a cat", "house"], ["a house"], ["tree", "a tree"]]
    assert torch.equal(found[1], again[0])
    unit = torch.tensor([[3.0, 3.0], [5.0, 3.0]])
    mean = (unit / unit.norm(dim=1, keepdim=True)).mean(0)
    assert torch.allclose(found[0], mean / mean.norm())
