"""GroupViT's training: what transformers leaves out, and the model that is saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.peers.groupvit import GroupTower, GroupVit, GroupVitConfig
from ovsslib.trained import groupvit as training
from ovsslib.trained.groupvit import GroupVitSize, GroupVitTrainer, build
from ovsslib.trained.system import train_system

TINY = GroupVitSize(side=32, width=32, heads=2, before=1, after=1, groups=4, text_layers=1)


def test_group_tokens_start_apart_only_at_random() -> None:
    pixels = torch.randn(1, 3, 32, 32)
    for spread, apart in ((0.02, True), (0.0, False)):
        vision = build(TINY, spread).vision_model.eval()
        with torch.no_grad():
            tokens = vision.encoder.stages[0](vision.embeddings(pixels))[1][0]
        same = torch.allclose(tokens[0], tokens[1], atol=1e-6)
        assert same != apart, spread


def test_an_image_is_compared_as_transformers_does() -> None:
    trainer = GroupVitTrainer(TINY).eval()
    pixels, texts = torch.randn(2, 3, 32, 32), ["a red car", "grass, a boat and a mushroom"]
    ids = trainer.words(texts)
    with torch.no_grad():
        found = trainer.images(pixels) @ trainer.texts(texts).T
        mask = (ids != trainer.words.pad).long()
        out = trainer.model(input_ids=ids, attention_mask=mask, pixel_values=pixels)
    scale = trainer.model.logit_scale.detach().exp()
    assert torch.allclose(found * scale, out.logits_per_image, atol=1e-3)


def test_a_run_is_read_by_the_method(drawn: Path, tmp_path: Path) -> None:
    plan = training.GroupVit()
    schedule = Schedule(steps=2, batch=6)
    records = list(train_system(schedule, Recipe(24, 24), drawn, tmp_path, 1, TINY, plan))
    assert all(np.isfinite(record["contrastive"]) for record in records)
    tower = GroupTower(str(tmp_path / "model"), "cpu")
    assert tower.own_side == 32
    state = torch.load(tmp_path / "state.pt", weights_only=True)["module"]
    stored = tower.model.state_dict()
    assert torch.allclose(stored["logit_scale"], state["model.logit_scale"], atol=1e-2)
    picture = np.full((40, 60, 3), 90, np.uint8)
    found = GroupVit(tower, GroupVitConfig(top=None)).segment(picture, ["car", "grass"])
    assert found.labels.shape == (40, 60)
    assert found.planes.shape == (2, 40, 60)


def test_sizes_must_fit() -> None:
    with pytest.raises(OvssError, match="not a multiple"):
        GroupVitSize(width=30)
    assert training.GroupVit().size(side=64).side == 64
