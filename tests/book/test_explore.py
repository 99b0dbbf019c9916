"""Sliders over the method: what they show is what the library gives, without running it again."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.book.explore import explore
from ovsslib.errors import OvssError
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.presets import default_config
from ovsslib.vlm import load_vlm


@pytest.mark.parametrize("vlm", ["micro-blip", "micro-bridgetower"])
def test_labels_follow_the_sliders(vlm: str, diorama_pictures, monkeypatch) -> None:
    matcher = load_vlm(vlm, "cpu")
    image, names = (each[0] for each in diorama_pictures)
    encode, passes = matcher.encode_images, []

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        passes.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(matcher, "encode_images", counted)
    shown = explore(image, names, vlm=matcher, rounds=2)
    assert len(passes) == 2

    def check(**changed: object) -> None:
        for name, value in changed.items():
            shown.controls[name].value = value
        config = default_config(matcher, crf=False, rounds=2, **changed)
        want = PnPOVSS(load_vlm(vlm, "cpu"), config).segment(image, names)
        assert np.array_equal(shown.result.labels, want.labels)
        found = {name for k, name in enumerate(names) if (want.labels == k).any()}
        assert {name for name in names if name in shown._labels.alt} == found

    before = shown._labels.value
    check(threshold=0.3, blur=0.01)
    assert len(passes) == 2
    assert shown._labels.value != before
    check(threshold=0.3, blur=0.01, layer=1, head=2)
    check(threshold=0.3, blur=0.01, layer=1, head=2, salience="attention")


def test_the_strip_shows_rounds_and_their_sum(diorama_pictures) -> None:
    image, names = (each[0] for each in diorama_pictures)
    shown = explore(image, names, rounds=3, patches_per_round=40)
    strip = np.asarray(Image.open(io.BytesIO(shown._rounds.value)))
    assert strip.shape[1] == 4 * 150 + 3 * 4
    cells = [strip[:, 154 * k : 154 * k + 150] for k in range(4)]
    black = [(cell == 0).all(-1).mean() for cell in cells]
    assert black[0] < 0.05
    assert black[1] == pytest.approx(40 / 196, abs=0.05)
    assert black[2] == pytest.approx(80 / 196, abs=0.05)
    before = shown._rounds.value
    shown._class.value = names[1]
    assert shown._rounds.value != before
    assert names[1] in shown._rounds.alt
    assert "application/vnd.jupyter.widget-view+json" in shown._repr_mimebundle_()


def test_bad_input_is_refused_as_elsewhere(diorama_pictures) -> None:
    image = diorama_pictures[0][0]
    with pytest.raises(OvssError, match="given twice"):
        explore(image, ["cat", "Cat"])
    with pytest.raises(OvssError, match="unknown setting 'treshold'"):
        explore(image, ["cat"], treshold=0.1)
