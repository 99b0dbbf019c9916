"""SegCLIP: regions by loops, its thresholds, and images of another size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, one_hot

import ovsslib
from ovsslib.peers.groupvit import GroupVitConfig
from ovsslib.peers.head import save_head
from ovsslib.peers.segclip import SegClip, SegClipHead, SegClipTower, patches_before_last
from support import released
from support.tiny_clip import pattern, tiny


def make(folder: Path) -> SegClipTower:
    clip = tiny(folder / "segclip" / "clip", layers=2)
    torch.manual_seed(2)
    head = SegClipHead(clip.model, centres=3, cross=1)
    with torch.no_grad():
        head.centres.mul_(50)
        head.keys.weight.mul_(10)
    save_head(folder / "segclip", "segclip", ("clip", clip.model), head, centres=3, cross=1)
    return SegClipTower(str(folder / "segclip"), "cpu")


def test_regions_by_loops(tmp_path: Path) -> None:
    tower = make(tmp_path)
    head, pixels = tower.head, pattern()
    with torch.no_grad():
        patches = patches_before_last(tower, pixels)
        found, hard, soft = head(patches)
        centres = head.layers[0](head.centres.expand(2, -1, -1), patches)
        for b in range(2):
            rows = head.norm(patches[b])
            width, heads = rows.shape[1], 2
            part = width // heads
            keys, values = torch.zeros_like(rows), torch.zeros_like(rows)
            for h in range(heads):
                own = slice(h * part, (h + 1) * part)
                keys[:, own] = rows[:, own] @ head.keys.weight[own, :, 0].T
                values[:, own] = rows[:, own] @ head.values.weight[own, :, 0].T
            raw = centres[b] @ head.norm_keys(keys).T
            assert torch.allclose(soft[b], raw.softmax(0), atol=1e-4)
            best = raw.argmax(0)
            assert torch.equal(hard[b], one_hot(best, 3).T.float())
            for c in range(3):
                members = [p for p in range(16) if best[p] == c]
                gathered = sum((values[p] for p in members), torch.zeros(width))
                state = head.norm_out(centres[b, c] + gathered / max(len(members), 1))
                out = head.outer(torch.nn.functional.gelu(head.inner(state)))
                expected = out * torch.sigmoid(1.702 * out)
                assert torch.allclose(found[b, c], expected, atol=1e-4)


def test_patches_see_no_class_token(tmp_path: Path) -> None:
    tower = make(tmp_path)
    with torch.no_grad():
        before = patches_before_last(tower, pattern())
        tower.model.visual.class_embedding.add_(5.0)
        assert torch.equal(patches_before_last(tower, pattern()), before)


def test_noise_only_while_training(tmp_path: Path) -> None:
    head = make(tmp_path).head
    patches = torch.randn(1, 16, 16)
    assert torch.equal(head(patches)[1], head(patches)[1])
    head.train()
    seen = {tuple(head(patches)[1].argmax(1)[0].tolist()) for _ in range(20)}
    assert len(seen) > 1


@pytest.mark.parametrize(("name", "value"), [("voc21", 0.8), ("context60", 0.25)])
def test_thresholds_are_its_own(tmp_path: Path, name: str, value: float) -> None:
    method = SegClip(make(tmp_path), GroupVitConfig(background_threshold=name))
    assert method.threshold == value


def test_images_of_another_size(tmp_path: Path) -> None:
    units, whole, share = make(tmp_path).groups(pattern(side=48))
    assert units.shape == (2, 3, 12)
    assert whole.shape == (2, 12)
    assert share.shape == (2, 3, 6, 6)


def test_the_authors_file_by_hand(tmp_path: Path) -> None:
    """Images and texts to scores, from the authors' names alone."""
    state, path = released.segclip_state(), tmp_path / "segclip.bin"
    torch.save(state, path)
    names = ["house", "traffic light", "sky", "sheep", "car", "bus"]
    found = ovsslib.load("segclip", vlm=path, device="cpu").segment(released.picture(), names)
    with torch.no_grad():
        texts = released.clip_texts(state, "clip.", [f"a photo of a {name}." for name in names])
        pixels = released.pixels_of(released.picture(), released.OPENAI)
        groups, whole, share = released.segclip_groups(state, pixels)
        share = interpolate(share[None], (32, 32), mode="bilinear")[0]
        expected = released.group_planes(groups, whole, share, texts, math.exp(2))
    assert len(share.argmax(0).unique()) > 1
    assert np.allclose(found.planes, expected.numpy(), atol=1e-4)
