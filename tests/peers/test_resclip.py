"""ResCLIP against the formulas: head by head, patch by patch."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.peers.naclip import NaClip
from ovsslib.peers.resclip import ResClip, ResClipConfig, connected, together
from ovsslib.peers.tower import Tower
from ovsslib.pnp.pamr import pamr
from support.tiny_clip import heads, pattern, tiny
from support.towers import micro, some_pixels, unit_features

RINGS = torch.tensor(
    [
        [1, 1, 1, 1, 1, 4, 1],
        [1, 2, 2, 2, 1, 4, 1],
        [1, 2, 1, 2, 1, 4, 4],
        [1, 2, 2, 2, 1, 1, 4],
        [1, 1, 1, 3, 3, 1, 4],
    ]
)


def line_stays(labels: list[list[int]], one: tuple[int, int], other: tuple[int, int]) -> bool:
    (i, j), (k, m) = one, other
    steps = max(abs(i - k), abs(j - m))
    for step in range(1, steps + 1):
        share = Fraction(step, steps)
        if labels[round(i + share * (k - i))][round(j + share * (m - j))] != labels[i][j]:
            return False
    return True


def naive_together(labels: list[list[int]], sigma: float) -> Tensor:
    height, width = len(labels), len(labels[0])
    places = [(i, j) for i in range(height) for j in range(width)]
    size = min(len(places), int(6 * sigma + 1)) // 2
    kernel = [math.exp(-(x**2) / (2 * sigma**2)) for x in range(-size, size + 1)]
    found = [[0.0] * (1 + len(places))]
    for i, j in places:
        row = [0.0] * size
        for k, m in places:
            steps = max(abs(i - k), abs(j - m))
            value = float(labels[i][j] == labels[k][m])
            if not line_stays(labels, (i, j), (k, m)):
                value *= math.exp(-steps / (max(height, width) - 1))
            row.append(value)
        row += [0.0] * size
        smooth = [
            sum(weight * row[at + x] for x, weight in enumerate(kernel)) / sum(kernel)
            for at in range(len(places))
        ]
        found.append([0.0] + [value / sum(smooth) for value in smooth])
    return torch.tensor(found) / max(map(max, found))


@pytest.mark.parametrize("labels", [RINGS, RINGS.T, RINGS[:1], RINGS[:2, :2], RINGS[:1, :1]])
@pytest.mark.parametrize("sigma", [5.0, 0.7])
def test_patches_of_a_label_belong_together(labels: Tensor, sigma: float) -> None:
    found = together(labels, sigma)
    assert torch.allclose(found, naive_together(labels.tolist(), sigma), atol=1e-5)
    assert float(found.max()) == 1.0


def test_a_line_may_leave_the_label() -> None:
    found = connected(RINGS)
    places = [(i, j) for i in range(5) for j in range(7)]
    same = RINGS.flatten()[:, None] == RINGS.flatten()
    for i, one in enumerate(places):
        for j, other in enumerate(places):
            assert bool(found[i, j]) == line_stays(RINGS.tolist(), one, other), (one, other)
    assert torch.equal(found & same, (found & same).T)
    assert found.diag().all()
    assert 0.1 < (found & same).sum() / same.sum() < 0.9


def naive(
    tower: Tower, image: Tensor, text: Tensor, config: ResClipConfig
) -> tuple[Tensor, list[list[int]], Tensor]:
    """Of one image (3, S, S): scores (K, h, w) of the first pass, labels, scores of the second."""
    vision, side = tower.model.visual, image.shape[-1] // 8
    *early, last = vision.transformer.resblocks
    layers = config.layers or ((6, 7, 8, 9) if len(early) == 11 else (2, 3))
    tokens, maps = vision._embeds(image[None])[0], []
    for number, block in enumerate(early, start=1):
        if number in layers:
            maps.append(
                [(q @ k.T / q.shape[1] ** 0.5).softmax(1) for q, k, _ in heads(block, tokens)[1]]
            )
        tokens = block(tokens[None])[0]
    near = torch.zeros(1 + side * side, 1 + side * side)
    for i in range(side * side):
        for j in range(side * side):
            square = (i // side - j // side) ** 2 + (i % side - j % side) ** 2
            near[1 + i, 1 + j] = math.exp(-square / (2 * config.sigma**2))

    def read(feedback: Tensor | None) -> Tensor:
        parts = []
        for head, (_, k, v) in enumerate(heads(last, tokens)[1]):
            products = k @ k.T / k.shape[1] ** 0.5
            if feedback is not None:
                share = config.feedback_share
                products = config.feedback_factor * ((1 - share) * products + share * feedback)
            mean, share = sum(each[head] for each in maps) / len(maps), config.residual_share
            mixed = (1 - share) * (products + near).softmax(1) + share * mean
            parts.append(config.residual_factor * mixed @ v)
        state = last.attn.out_proj(torch.cat(parts, dim=1))
        units = normalize((vision.ln_post(state) @ vision.proj)[1:], dim=1)
        return (text @ units.T).view(-1, side, side)

    coarse = read(None)
    labels = naive_labels(tower, image, coarse, config)
    return coarse, labels, read(naive_together(labels, config.sigma))


def naive_labels(
    tower: Tower, image: Tensor, coarse: Tensor, config: ResClipConfig
) -> list[list[int]]:
    fine = interpolate(coarse[None], scale_factor=8, mode="bilinear")[0]
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (tower.parts.mean, tower.parts.std))
    chances = (config.scale * pamr(fine, image * std + mean)).softmax(0)
    pixels = chances.permute(1, 2, 0).tolist()
    labels = [[0] * coarse.shape[2] for _ in coarse[0]]
    for i, j in itertools.product(range(len(labels)), repeat=2):
        named: Counter[int] = Counter()
        for row in pixels[8 * i : 8 * (i + 1)]:
            for values in row[8 * j : 8 * (j + 1)]:
                sure = max(values) >= config.threshold
                named[values.index(max(values)) if sure else 0] += 1
        labels[i][j] = min(named, key=lambda name: (-named[name], name))
    return labels


@pytest.mark.parametrize(
    "config",
    [
        ResClipConfig(),
        ResClipConfig(
            sigma=2.0, layers=(1, 5), residual_factor=1.5, residual_share=0.2,
            feedback_factor=2.2, feedback_share=0.6, scale=20.0, threshold=0.45,
        ),
    ],
)  # fmt: skip
def test_two_passes(tmp_path: Path, config: ResClipConfig) -> None:
    tower = tiny(tmp_path / "clip", side=64)
    method = ResClip(tower, config)
    # Fields of one colour each, and names that their patches are like.
    fields = pattern(2, 4).repeat_interleave(16, 2).repeat_interleave(16, 3)
    pixels = fields + 0.1 * pattern(side=64)
    units = unit_features(method, pixels)[0]
    several = normalize(units - units.mean(0), dim=1)[[0, 7, 27, 63]]
    texts, names = [several, several[:2]], set()
    with torch.no_grad():
        found = method.planes(pixels, texts)
        first = method.compare(method.features(pixels), texts)
        for index, image in enumerate(pixels):
            coarse, labels, expected = naive(tower, image, texts[index], config)
            assert torch.allclose(first[index], coarse, atol=1e-5)
            assert torch.allclose(found[index], expected, atol=1e-5)
            assert not torch.allclose(found[index], coarse, atol=1e-3)
            names |= {name for row in labels for name in row}
    assert len(names) > 1


def test_without_its_parts_it_is_naclip() -> None:
    tower = micro()
    pixels, texts = some_pixels(tower), [tower.texts(["bus", "sky"], [str])] * 2
    bare = ResClip(tower, ResClipConfig(residual_share=0, residual_factor=1, feedback=False))
    assert torch.allclose(
        unit_features(bare, pixels), unit_features(NaClip(tower), pixels), atol=1e-5
    )
    with torch.no_grad():
        found, expected = (method.planes(pixels, texts) for method in (bare, NaClip(tower)))
    assert torch.allclose(torch.stack(found), torch.stack(expected), atol=1e-5)


def test_images_do_not_depend_on_each_other() -> None:
    data = load_dataset("diorama", None, "tune")
    images, classes = [data.image(name) for name in data.ids[:2]], [["sky", "sea", "bus"], ["sky"]]
    method = ovsslib.load("resclip")
    both = method.segment_batch(images, classes)
    for index, found in enumerate(both):
        alone = method.segment(images[index], classes[index])
        assert found.planes == pytest.approx(alone.planes, abs=1e-4)
    with pytest.raises(OvssError, match="threshold"):
        ovsslib.load("resclip", threshold=1.5)
    with pytest.raises(OvssError, match="before the last of 4"):
        ovsslib.load("resclip", layers=[9]).segment(images[0], ["sky"])
