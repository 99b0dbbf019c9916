"""After ViewCo's training: views and losses by loops, the teacher, and what is saved."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.peers.groupvit import GroupTower
from ovsslib.trained.after_viewco import AfterViewCo, AfterViewCoTrainer, same_groups, view
from ovsslib.trained.groupvit import GroupVitSize
from ovsslib.trained.system import train_system
from support.batches import make_batch

TINY = GroupVitSize(
    side=32, width=32, heads=2, before=1, after=1, tokens=4, groups=4, text_layers=1
)


def make(**options: bool) -> AfterViewCoTrainer:
    torch.manual_seed(0)
    return AfterViewCoTrainer(TINY, 0.02, **options)


def crossed(ones: list[list[torch.Tensor]], others: list[list[torch.Tensor]]) -> float:
    """The contrast of groups, image by image and group by group."""
    total, count = 0.0, 0
    for b, groups in enumerate(ones):
        for g, group in enumerate(groups):
            powers = [
                [math.exp(float(torch.cosine_similarity(group, one, dim=0)) / 0.1) for one in each]
                for each in others
            ]
            total -= math.log(powers[b][g] / sum(map(sum, powers)))
            count += 1
    return total / count


def test_groups_by_loops() -> None:
    student, teacher = torch.randn(3, 2, 5), torch.randn(3, 2, 5)
    found = float(same_groups(student, teacher))
    assert found == pytest.approx(crossed(list(student), list(teacher)), abs=1e-4)
    assert float(same_groups(student, student)) < 0.1 < found


def test_views_are_parts_of_their_images() -> None:
    """A ramp says where a view was taken, and how large it is."""
    ramp = torch.linspace(-1 + 1 / 32, 1 - 1 / 32, 32)  # of the middles of pixels
    across, down = torch.meshgrid(ramp, ramp, indexing="xy")
    image = torch.stack([across, down, torch.zeros(32, 32)])
    found = view(image.expand(300, -1, -1, -1), np.random.default_rng(0))
    widths = (found[:, 0, 16, 24] - found[:, 0, 16, 8]) / (ramp[24] - ramp[8])
    heights = (found[:, 1, 24, 16] - found[:, 1, 8, 16]) / (ramp[24] - ramp[8])
    assert torch.allclose(widths, heights, atol=1e-4), "square, and not mirrored"
    assert 0.5 - 1e-4 < widths.square().min() < 0.53
    assert 0.97 < widths.square().max() <= 1 + 1e-4
    middles = found[:, :2, 15:17, 15:17].mean((2, 3))
    room = 1 - widths
    assert (middles.abs() <= room[:, None] + 1e-4).all(), "nothing beyond the image is seen"
    assert ((middles / room[:, None]).amax(0) > 0.9).all()
    assert ((middles / room[:, None]).amin(0) < -0.9).all()


def test_losses_by_loops() -> None:
    trainer = make().eval()
    with torch.no_grad():
        for weight in trainer.teacher.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        found = trainer(make_batch())
        batch = make_batch()
        views = [view(batch.pixels, batch.rng) for _ in range(2)]
        texts = trainer.texts([caption.text for caption in batch.compared])
        contrasts, groups, slow = [], [], []
        for pixels in views:
            rows = [trainer.images(image[None])[0] for image in pixels]
            scale = trainer.model.logit_scale
            contrasts.append(batch.contrast(torch.stack(rows) @ texts.T, scale))
            for vision, tokens in ((trainer.model.vision_model, groups), (trainer.teacher, slow)):
                tokens.append([vision(pixel_values=one[None])[0][0] for one in pixels])
    assert not torch.equal(views[0], views[1])
    expected = np.mean([float(loss) for loss, _ in contrasts])
    assert float(found["contrastive"]) == pytest.approx(expected, abs=1e-4)
    assert float(found["found"]) == pytest.approx(np.mean([float(one) for _, one in contrasts]))
    both = (crossed(groups[0], slow[1]) + crossed(groups[1], slow[0])) / 2
    assert float(found["segments"]) == pytest.approx(both, abs=1e-3)


def test_the_teacher_starts_as_the_student_and_follows() -> None:
    trainer = make()
    student, teacher = trainer.model.vision_model, trainer.teacher
    for own, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        assert torch.equal(own, theirs)
    before = {name: weight.clone() for name, weight in teacher.named_parameters()}
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(1.0)
    trainer(make_batch(done=0.5))
    for name, weight in teacher.named_parameters():
        assert torch.allclose(weight, before[name] + 0.002, atol=1e-5), name
    trainer.eval()
    trainer(make_batch())
    assert torch.allclose(weight, before[name] + 0.002, atol=1e-5)


def test_which_weights_learn_from_groups() -> None:
    trainer = make()
    trainer(make_batch())["segments"].backward()
    assert all(weight.grad is None for weight in trainer.teacher.parameters())
    assert trainer.model.vision_model.encoder.stages[0].group_token.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in trainer.model.text_model.parameters())


def test_groups_may_be_left_out() -> None:
    trainer = make(segments=False)
    found = trainer(make_batch())
    assert trainer.teacher is None
    assert float(found["segments"]) == 0
    assert float(found["contrastive"].detach()) > 0


def test_the_student_is_saved_as_a_groupvit(drawn: Path, tmp_path: Path) -> None:
    plan, schedule = AfterViewCo(), Schedule(steps=3, batch=6)
    records = list(train_system(schedule, Recipe(24, 24), drawn, tmp_path, 3, TINY, plan))
    assert all(record["segments"] > 0 for record in records)
    tower = GroupTower(str(tmp_path / "model"), "cpu")
    trainer = make().eval()
    trainer.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True)["module"])
    pixels = make_batch().pixels
    with torch.no_grad():
        groups, wholes, _ = tower.groups(pixels)
        tokens = trainer.model.vision_model(pixel_values=pixels).last_hidden_state
        expected = trainer.model.visual_projection(tokens[0])
        assert torch.allclose(wholes, trainer.images(pixels), atol=1e-2)
    assert torch.allclose(groups[0], normalize(expected, dim=-1), atol=1e-2)
