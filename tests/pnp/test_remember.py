"""A matcher that remembers gives what the matcher gives, and asks it once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovsslib.pnp import remember
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.presets import default_config
from ovsslib.pnp.remember import RememberingMatcher
from ovsslib.vlm import load_vlm

CHANGES = [
    {},
    {"layer": 3, "head": 2},
    {"score": "margin"},
    {"salience": "attention"},
    {"rounds": 2, "patches_per_round": 30},
    {"classes_per_prompt": 2},
]


@pytest.mark.parametrize("vlm", ["micro-blip", "micro-bridgetower"])
def test_maps_are_the_matcher_s(vlm: str, diorama_pictures) -> None:
    matcher = load_vlm(vlm, "cpu")
    kept = RememberingMatcher(matcher)
    images, classes = diorama_pictures
    for changed in CHANGES:
        config = default_config(matcher, **changed)
        pairs = zip(
            PnPOVSS(kept, config).maps(images[:2], classes[:2]),
            PnPOVSS(matcher, config).maps(images[:2], classes[:2]),
            strict=True,
        )
        for got, want in pairs:
            # At most, not less: a head of BridgeTower has no positive gradient on one image.
            assert np.abs(got.maps - want.maps).max() <= 1e-5 * want.maps.max()
            assert got.match == pytest.approx(want.match, abs=1e-6)


def test_nothing_is_computed_twice(monkeypatch, diorama_pictures) -> None:
    matcher = load_vlm("micro-blip", "cpu")
    passes: list[int] = []
    encode = matcher.encode_images

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        passes.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(matcher, "encode_images", counted)
    kept = RememberingMatcher(matcher)
    images, classes = diorama_pictures

    def run(**changed: object) -> None:
        PnPOVSS(kept, default_config(matcher, **changed)).maps(images[:1], classes[:1])

    run(rounds=3)
    assert len(passes) == 3
    run(rounds=3, threshold=0.5, blur=0.0)
    run(rounds=1, layer=4, head=3)
    assert len(passes) == 3
    run(rounds=4)
    assert len(passes) == 4


def test_the_oldest_is_forgotten(monkeypatch, diorama_pictures) -> None:
    monkeypatch.setattr(remember, "MOST", 2)
    matcher = load_vlm("micro-blip", "cpu")
    kept = RememberingMatcher(matcher)
    pixels = [matcher.preprocess([image]) for image in diorama_pictures[0][:3]]
    first = kept.encode_images(pixels[0])
    assert kept.encode_images(pixels[0]) is first
    for each in pixels[1:]:
        kept.encode_images(each)
    again = kept.encode_images(pixels[0])
    assert again is not first
    assert torch.equal(again, first)
