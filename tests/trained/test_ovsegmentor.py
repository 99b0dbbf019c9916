"""OVSegmentor's training: questions, partners, masks, and which weights each loss reaches."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.peers.groupvit import GroupTower
from ovsslib.trained.groupvit import GroupVitSize
from ovsslib.trained.ovsegmentor import (
    OvSegmentor,
    OvSegmentorTrainer,
    asked,
    dice,
    masks,
    paired,
    partners,
    question,
)
from ovsslib.trained.system import train_system
from support.batches import CAPTIONS, make_batch

TINY = GroupVitSize(
    side=32, width=32, heads=2, before=1, after=1, tokens=5, groups=3, text_layers=1
)
TEXTS = [texts[0] for texts in CAPTIONS]


def test_questions_and_answers() -> None:
    asked_, answer = question("a street light next to a red street light, and a mushroom")
    assert asked_ == "a [MASK] next to a red [MASK], and a [MASK]"
    assert answer == "a photo of a street light and a mushroom"
    assert question("a photo") == ("a photo", "a photo")
    trainer = OvSegmentorTrainer(TINY)
    masked = trainer.words.tokenizer.mask_token_id
    assert (trainer.words([asked_]) == masked).sum() == 3


def test_partners_share_a_name() -> None:
    assert partners(TEXTS) == [(0, 1, "grass"), (1, 0, "grass")]
    assert partners(["a car", "a boat"]) == []


def test_masks_are_scaled_products(tmp_path: Path) -> None:
    vision = OvSegmentorTrainer(TINY).model.vision_model.eval()
    with torch.no_grad():
        queries, keys, groups = asked(vision, make_batch().pixels)
        found = masks(queries, keys)
    assert groups.shape == queries.shape == (3, 3, 32)
    assert found.shape == (3, 3, 16, 16)
    # Bilinear resizing keeps the mean over the inner part of a plane about; corners are exact.
    corner = float(queries[1, 2] @ keys[1, 0]) / 32**0.5
    assert float(found[1, 2, 0, 0]) == pytest.approx(corner, abs=1e-4)
    assert not vision.encoder.stages[0].downsample.assign.q_proj._forward_hooks


def test_groups_are_paired_by_the_least_sum() -> None:
    found, target = torch.randn(3, 4, 4), torch.randn(3, 4, 4)
    rows, columns = (normalize(each.flatten(1), dim=1) for each in (found, target))

    def total(order: tuple[int, ...]) -> float:
        return sum(float((rows[g] - columns[k]).norm()) for g, k in enumerate(order))

    best = min(itertools.permutations(range(3)), key=total)
    assert tuple(paired(found, target).tolist()) == best


def test_dice_by_hand() -> None:
    found = torch.tensor([[[0.0, 2.0]], [[1.0, 3.0]]])
    target = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    # Both are 0 and 1 once scaled: one pixel of four in common.
    assert float(dice(found, target)) == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1), abs=1e-5)
    assert float(dice(target, target)) == pytest.approx(0, abs=1e-5)


def test_each_loss_has_its_time() -> None:
    early, late = (OvSegmentorTrainer(TINY)(make_batch(done=done)) for done in (0.5, 0.9))
    assert float(early["mask"]) == 0
    assert float(late["mask"].detach()) > 0
    assert float(late["entity"].detach()) > 0
    assert float(OvSegmentorTrainer(TINY, entities=False)(make_batch(done=0.9))["entity"]) == 0


def test_the_loss_of_masks_reaches_half_of_the_groups_and_not_the_copy() -> None:
    trainer = OvSegmentorTrainer(TINY)
    projections = (trainer.model.visual_projection, trainer.model.text_projection)
    statistics = [each[1].running_mean.clone() for each in projections]
    batch = make_batch(done=0.9)
    queries, _, groups = asked(trainer.model.vision_model, batch.pixels)
    queries.retain_grad()
    trainer.agreement(batch, TEXTS, queries, groups).backward()
    reached = queries.grad.abs().sum(-1) > 0
    assert reached.sum(1).tolist() == [2, 2, 0], (
        "half of three groups are held, and the boat is alone"
    )
    for each, before in zip(projections, statistics, strict=True):
        assert torch.equal(each[1].running_mean, before)
        assert each.training
    assert all(weight.grad is None for weight in trainer.slow.parameters())
    assign = trainer.model.vision_model.encoder.stages[0].downsample.assign
    assert assign.q_proj.weight.grad.abs().sum() > 0
    assert assign.k_proj.weight.grad is None or assign.k_proj.weight.grad.abs().sum() == 0


def test_the_copy_follows() -> None:
    trainer = OvSegmentorTrainer(TINY)
    with torch.no_grad():
        for weight in trainer.model.vision_model.parameters():
            weight.add_(1.0)
    before = [weight.clone() for weight in trainer.slow.parameters()]
    trainer.follow()
    for weight, old in zip(trainer.slow.parameters(), before, strict=True):
        assert torch.allclose(weight, old + 0.01, atol=1e-5)


def test_a_run_is_read_as_a_groupvit(drawn: Path, tmp_path: Path) -> None:
    plan, schedule = OvSegmentor(), Schedule(steps=6, batch=6)
    records = list(train_system(schedule, Recipe(24, 24), drawn, tmp_path, 6, TINY, plan))
    assert [record["mask"] > 0 for record in records] == [False] * 5 + [True]
    tower = GroupTower(str(tmp_path / "model"), "cpu")
    groups, wholes, shares = tower.groups(torch.randn(1, 3, 32, 32))
    assert groups.shape[:2] == (1, 3)
    assert shares.shape == (1, 3, 4, 4)
    assert wholes.shape[0] == 1
