"""CLIP-DINOiser's pooling against the formula, patch by patch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate, normalize

from ovsslib.peers.clip_dinoiser import ClipDinoiser, ClipDinoiserConfig, pooled
from ovsslib.peers.dino import Dino
from ovsslib.peers.maskclip import MaskClip, MaskClipConfig
from support.tiny_dino import make_tiny_dino, naive_last_layer, units
from support.towers import micro, some_pixels, unit_features


@pytest.mark.parametrize(("patch", "gamma", "residual"), [(8, 0.2, True), (16, 0.95, False)])
def test_patches_that_dino_finds_alike_are_averaged(
    tmp_path: Path, patch: int, gamma: float, residual: bool
) -> None:
    tower, dino = micro(), Dino(str(make_tiny_dino(tmp_path / "dino", patch)), "cpu")
    method = ClipDinoiser(tower, ClipDinoiserConfig(gamma=gamma, residual=residual), dino)
    pixels = some_pixels(tower, 2, 32)
    found = unit_features(method, pixels)
    for index, image in enumerate(pixels):
        with torch.no_grad():
            mask = MaskClip(tower, MaskClipConfig(residual=residual)).features(image[None])[0]
            plane = mask.T.unflatten(1, (4, 4))[None]
            own = interpolate(plane, (32 // patch,) * 2, mode="bilinear")[0].flatten(1).T
            unit = units(naive_last_layer(dino.model, method.matcher.colours(image))[1][2])
        dropped = 0
        for p, row in enumerate(unit):
            total, weights = torch.zeros(own.shape[1]), 0.0
            for q, other in enumerate(unit):
                cosine = float(row @ other)
                if cosine >= gamma:
                    total, weights = total + cosine * own[q], weights + cosine
                else:
                    dropped += 1
            expected = normalize(total / weights, dim=0)
            assert torch.allclose(found[index, p], expected, atol=1e-5)
        assert dropped > 0


def test_a_patch_like_no_other_keeps_its_own() -> None:
    features, values = torch.rand(1, 3, 5), torch.eye(3)[None]
    assert torch.allclose(pooled(features, values, 1.0), features)
