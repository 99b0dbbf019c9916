"""ITACLIP against the formulas, head by head and pixel by pixel."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.itaclip import ItaClip, ItaClipConfig, blurred, grey
from ovsslib.peers.tower import Tower
from support.tiny_clip import heads, pattern, tiny
from support.towers import micro, some_pixels, unit_features


def attention(q: Tensor, k: Tensor) -> Tensor:
    root = q.shape[1] ** 0.5
    return (q @ q.T / root).softmax(1) + (k @ k.T / root).softmax(1)


def naive(tower: Tower, pixels: Tensor, layers: tuple[int, ...]) -> Tensor:
    """Unit features (B, P, E)."""
    vision, found = tower.model.visual, []
    *early, last = vision.transformer.resblocks
    with torch.no_grad():
        for image in pixels:
            tokens, maps = vision._embeds(image[None])[0], []
            for number, block in enumerate(early, start=1):
                if number in layers:
                    maps.append([attention(q, k) for q, k, _ in heads(block, tokens)[1]])
                tokens = block(tokens[None])[0]
            read = []
            for head, (q, k, v) in enumerate(heads(last, tokens)[1]):
                mean = sum(each[head] for each in maps) / len(maps)
                read.append((0.5 * attention(q, k) + 0.5 * mean) @ v)
            state = tokens + last.attn.out_proj(torch.cat(read, dim=1))
            found.append((vision.ln_post(state) @ vision.proj)[1:])
    return normalize(torch.stack(found), dim=-1)


def test_middle_layers_have_half_of_the_attention(tmp_path: Path) -> None:
    tower, pixels = tiny(tmp_path / "clip"), pattern()
    expected = naive(tower, pixels, (7, 8, 10))
    assert torch.allclose(unit_features(ItaClip(tower), pixels), expected, atol=1e-5)
    others = ItaClip(tower, ItaClipConfig(layers=(2, 11)))
    assert torch.allclose(unit_features(others, pixels), naive(tower, pixels, (2, 11)), atol=1e-5)


def test_a_shallow_model_has_layers_at_the_same_depth() -> None:
    tower = micro()
    pixels = some_pixels(tower, 1)
    assert torch.allclose(
        unit_features(ItaClip(tower), pixels), naive(tower, pixels, (2, 3)), atol=1e-5
    )


def test_grey_and_blurred_pixel_by_pixel() -> None:
    image, side = pattern(1, 8), 8
    kernel = [math.exp(-(x**2) / (2 * 5.0**2)) for x in range(-5, 6)]
    mirrored = [abs(i) if i < side else 2 * (side - 1) - i for i in range(-5, side + 5)]
    soft = torch.zeros_like(image)
    for row in range(side):
        for column in range(side):
            for i, down in enumerate(kernel):
                for j, right in enumerate(kernel):
                    other = image[0, :, mirrored[row + i], mirrored[column + j]]
                    soft[0, :, row, column] += down * right * other / sum(kernel) ** 2
    assert torch.allclose(blurred(image), soft, atol=1e-5)
    red, green, blue = image[0]
    one = 0.2989 * red + 0.587 * green + 0.114 * blue
    assert torch.allclose(grey(image), torch.stack([one] * 3)[None], atol=1e-5)


@pytest.mark.parametrize(
    ("filtered", "flipped", "upright"),
    [(True, True, 0.75), (True, False, 0.75), (False, True, 0.6), (False, False, 0.75)],
)
def test_looks_are_averaged(tmp_path: Path, filtered: bool, flipped: bool, upright: float) -> None:
    tower, pixels = tiny(tmp_path / "clip"), pattern()
    texts = [tower.texts(["bus", "sky", "sea"], [str]), tower.texts(["bus"], [str])]

    def cosines(looks: Tensor, index: int) -> Tensor:
        units = naive(tower, looks, (7, 8, 10))
        return (texts[index] @ units[index].T).view(-1, 4, 4)

    config = ItaClipConfig(filtered=filtered, flipped=flipped, upright=upright)
    with torch.no_grad():
        found = ItaClip(tower, config).planes(pixels, texts)
    for index, planes in enumerate(found):
        expected = cosines(pixels, index)
        if filtered:
            for look in (grey(pixels), blurred(pixels)):
                expected = expected + cosines(look, index)
            expected = expected / 3
        if flipped:
            turned = cosines(torch.flip(pixels, (2,)), index).flip(1)
            mirrored = cosines(torch.flip(pixels, (3,)), index).flip(2)
            expected = upright * expected + (1 - upright) * (turned + mirrored) / 2
        assert planes.shape == (len(texts[index]), 4, 4)
        assert torch.allclose(planes, expected, atol=1e-5)


def test_by_name() -> None:
    method = ovsslib.load("itaclip", layers=[1, 2])
    assert method.config.to_dict()["layers"] == [1, 2]
    with pytest.raises(OvssError, match="before the last of 4"):
        ovsslib.load("itaclip", layers=[4]).features(some_pixels(micro(), 1))
    with pytest.raises(OvssError, match="upright"):
        ovsslib.load("itaclip", upright=2)
