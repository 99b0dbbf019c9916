"""CLIPpy's read-out: patches as they leave the last layer, with its own prompt."""

from __future__ import annotations

import torch

from ovsslib.peers.clippy import Clippy
from ovsslib.peers.raw_clip import RawClip
from support.towers import micro, some_pixels


def test_patches_are_read_as_they_are() -> None:
    tower = micro()
    pixels = some_pixels(tower)
    with torch.no_grad():
        assert torch.equal(Clippy(tower).features(pixels), RawClip(tower).features(pixels))
    (sentence,) = Clippy(tower).sentences()
    assert sentence("car") == "a photo of a car"
