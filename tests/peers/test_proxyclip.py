"""ProxyCLIP against the formula, head by head and patch by patch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate, normalize

from ovsslib.peers.dino import Dino
from ovsslib.peers.proxyclip import ProxyClip, ProxyClipConfig, proxy_attention
from support.tiny_dino import make_tiny_dino, naive_last_layer
from support.towers import micro, some_pixels, unit_features


def naive_attention(tokens: torch.Tensor, beta: float, gamma: float) -> torch.Tensor:
    unit = [token / token.norm() for token in tokens]
    cosines = torch.tensor([[float(a @ b) for b in unit] for a in unit])
    scores = (cosines - beta * cosines.mean()) * gamma
    rows = []
    for row in scores:
        weights = torch.tensor([float(score.exp()) if score >= 0 else 0.0 for score in row])
        rows.append(weights / weights.sum())
    return torch.stack(rows)


@pytest.mark.parametrize(("patch", "beta", "gamma"), [(8, 1.2, 3.0), (16, 1.1, 9.0)])
def test_dino_says_who_attends_to_whom(
    tmp_path: Path, patch: int, beta: float, gamma: float
) -> None:
    tower, dino = micro(), Dino(str(make_tiny_dino(tmp_path / "dino", patch)), "cpu")
    method = ProxyClip(tower, ProxyClipConfig(beta=beta, gamma=gamma), dino)
    pixels = some_pixels(tower, 2, 32)
    found = unit_features(method, pixels)
    last = tower.model.visual.transformer.resblocks[-1]
    for index, image in enumerate(pixels):
        with torch.no_grad():
            tokens, _ = naive_last_layer(dino.model, method.matcher.colours(image))
            attention = naive_attention(tokens, beta, gamma)
            assert 0 < (attention == 0).float().mean() < 1
            inner = last.ln_1(tower.enter(image[None]))[0, 1:]
            packed = inner @ last.attn.in_proj_weight.T + last.attn.in_proj_bias
            values = packed[:, -tower.model.visual.conv1.out_channels :]
            plane = values.T.unflatten(1, (4, 4))[None]
            values = interpolate(plane, (32 // patch,) * 2, mode="bilinear")[0].flatten(1).T
            read = last.attn.out_proj(attention @ values)
            visual = tower.model.visual
            expected = normalize(visual.ln_post(read) @ visual.proj, dim=-1)
        assert torch.allclose(found[index], expected, atol=1e-5)


def test_an_even_image_is_read_patch_by_patch() -> None:
    attention = proxy_attention(torch.ones(1, 4, 4), 1.2, 3.0)
    assert torch.equal(attention[0], torch.eye(4))
