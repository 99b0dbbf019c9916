"""ZeroSeg: a patch has the features of the group it belongs to most."""

from __future__ import annotations

from pathlib import Path

import torch

from ovsslib.peers.head import save_head
from ovsslib.peers.zeroseg import ZeroSeg, ZeroSegHead, ZeroSegTower
from support.tiny_clip import pattern, tiny

SIZES = {"width": 16, "encoder": 1, "tokens": 5, "groups": 3, "before": 1, "after": 1}


def make(folder: Path) -> ZeroSegTower:
    clip = tiny(folder / "clip", layers=1)
    torch.manual_seed(1)
    head = ZeroSegHead(clip.model, **SIZES)
    with torch.no_grad():
        for part in (head.gather.downsample.assign.q_proj, head.gather.downsample.assign.k_proj):
            part.weight.mul_(20)
        head.positions.mul_(50)
        head.gather.group_token.mul_(50)
    save_head(folder / "zeroseg", "zeroseg", (str(folder / "clip"), clip.model), head, **SIZES)
    return ZeroSegTower(str(folder / "zeroseg"), "cpu")


def test_features_are_those_of_groups(tmp_path: Path) -> None:
    tower = make(tmp_path)
    pixels = pattern()
    with torch.no_grad():
        found = ZeroSeg(tower).features(pixels)
        groups, share = tower.head.groups(tower.head.encode(pixels))
        units = tower.head.features(groups)
    assert torch.allclose(share.sum(1), torch.ones(2, 16), atol=1e-5)
    used = set()
    for b in range(2):
        for p in range(16):
            group = max(range(3), key=lambda g: float(share[b, g, p]))
            used.add((b, group))
            assert torch.equal(found[b, p], units[b, group])
    assert len({b for b, _ in used}) == 2
    assert len(used) > 2, "patches of an image belong to several groups"


def test_patches_that_are_not_seen_change_nothing(tmp_path: Path) -> None:
    head = make(tmp_path).head
    kept = torch.tensor([[0, 3, 7], [1, 2, 15]])
    pixels = pattern()
    other = pixels.clone()
    other[0, :, 8:16, 16:24] = 5.0  # patch 6 of the first image
    with torch.no_grad():
        assert torch.equal(head.encode(pixels, kept), head.encode(other, kept))
        assert not torch.equal(head.encode(pixels), head.encode(other))
        every = torch.arange(16).expand(2, -1)
        assert torch.allclose(head.encode(pixels, every), head.encode(pixels), atol=1e-6)
