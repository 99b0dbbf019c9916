"""CLIPpy's training: the vector of an image by hand, and what is saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ovsslib.miniature.training.clip import ClipSize
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.peers.raw_clip import RawClip
from ovsslib.peers.tower import Tower
from ovsslib.trained.clippy import Clippy, ClippyTrainer
from ovsslib.trained.system import train_system

TINY = ClipSize(side=32, width=32, image_layers=2, text_layers=1)


@pytest.mark.parametrize("pooling", ["max", "mean", "class token"])
def test_the_vector_of_an_image(pooling: str) -> None:
    trainer = ClippyTrainer(TINY, pooling).eval()
    vision = trainer.model.visual
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = vision._embeds(pixels)
        for layer in vision.transformer.resblocks:
            tokens = layer(tokens)
        rows = vision.ln_post(tokens) @ vision.proj
        found = trainer.images(pixels)
        for image, own in zip(rows, found, strict=True):
            patches = image[1:].tolist()
            columns = list(zip(*patches, strict=True))
            vector = {
                "max": [max(column) for column in columns],
                "mean": [sum(column) / 16 for column in columns],
                "class token": image[0].tolist(),
            }[pooling]
            expected = normalize(torch.tensor(vector), dim=0)
            assert torch.allclose(own, expected, atol=1e-5)


def test_a_step_sees_half_of_the_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = ClippyTrainer(TINY, "max")
    counts: list[int] = []
    layer = trainer.model.visual.transformer.resblocks[0]
    layer.register_forward_pre_hook(lambda _, given: counts.append(given[0].shape[1]))
    pixels = torch.randn(2, 3, 32, 32)
    trainer.images(pixels, np.random.default_rng(0))
    trainer.images(pixels)
    assert counts == [1 + 8, 1 + 16]


def test_the_saved_model_is_read_patch_by_patch(drawn: Path, tmp_path: Path) -> None:
    plan = Clippy()
    schedule = Schedule(steps=2, batch=6)
    assert plan.size(side=32).width == 128
    records = list(train_system(schedule, Recipe(24, 24), drawn, tmp_path, 1, TINY, plan))
    assert all(np.isfinite(record["contrastive"]) for record in records)
    tower = Tower(str(tmp_path / "model"), "cpu")
    trainer = ClippyTrainer(TINY, "max").eval()
    trainer.model.load_state_dict(tower.model.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        patches = RawClip(tower).features(pixels)
        found = trainer.images(pixels)
    assert torch.allclose(normalize(patches.amax(1), dim=-1), found, atol=1e-5)
