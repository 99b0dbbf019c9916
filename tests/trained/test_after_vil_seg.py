"""After ViL-Seg's training: losses by loops, which weights each reaches, and what is saved."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ovsslib.miniature.training import clip as clips
from ovsslib.miniature.training.card import finish
from ovsslib.miniature.training.clip import ClipSize, caption_features
from ovsslib.miniature.training.dino import LARGE_GRIDS, MOMENTUM, views
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.peers.after_vil_seg import AfterVilSegTower
from ovsslib.trained.after_vil_seg import AfterVilSeg, AfterVilSegTrainer, mutual_information
from ovsslib.trained.system import train_system
from support.batches import make_batch

TINY = ClipSize(side=32, width=32, image_layers=2, text_layers=1)


def make(**options: bool) -> AfterVilSegTrainer:
    torch.manual_seed(0)
    return AfterVilSegTrainer(TINY, **options)


def test_mutual_information_by_loops() -> None:
    shares = (2 * torch.randn(2, 3, 4, 3)).softmax(-1)
    joint, pairs = np.zeros((3, 3)), 0
    for plane in shares.numpy().astype(float):
        for y in range(3):
            for x in range(4):
                for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if 0 <= other[0] < 3 and 0 <= other[1] < 4:
                        joint += np.outer(plane[y, x], plane[other])
                        pairs += 1
    joint /= pairs
    expected = sum(
        joint[a, b] * math.log(joint[a, b] / (joint[a].sum() * joint[b].sum()))
        for a in range(3)
        for b in range(3)
    )
    assert float(mutual_information(shares)) == pytest.approx(expected, abs=1e-6)


def test_mutual_information_of_plain_cases() -> None:
    halves = torch.zeros(1, 2, 50, 4)
    halves[:, :, :25, 0] = halves[:, :, 25:, 1] = 1
    assert 0.6 < float(mutual_information(halves)) < math.log(2), "two clusters, few borders"
    for even in (torch.full((1, 4, 4, 4), 0.25), halves[:, :, :25]):
        assert float(mutual_information(even)) == pytest.approx(0, abs=1e-5)


def test_losses_are_those_of_their_parts() -> None:
    trainer = make().eval()
    with torch.no_grad():
        found = trainer(make_batch())
        batch = make_batch()
        texts = caption_features(trainer.model, batch.compared, trainer.words)
        images = clips.image_features(trainer.model, batch.pixels, batch.rng)
        contrast, right = batch.contrast(images @ texts.T, trainer.model.logit_scale)
        number = int(batch.rng.integers(len(LARGE_GRIDS)))
        large, small = views(batch.pictures, 8, number, batch.rng)
        late = bool(batch.rng.random() < 0.5)
        dino = trainer.dino(large, small, late=late)["dino"]
        vision, planes = trainer.model.visual, []
        for image in batch.pixels:
            tokens = vision._embeds(image[None])
            for layer in vision.transformer.resblocks:
                tokens = layer(tokens)
            planes.append(trainer.head(tokens[:, 1:])[0].unflatten(0, (4, 4)))
    expected = {"contrastive": contrast, "dino": dino, "found": right}
    expected["cluster"] = -mutual_information(torch.stack(planes))
    expected["clusters"] = len({int(k) for plane in planes for k in plane.argmax(-1).flatten()})
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), abs=1e-4), name


def test_a_crop_is_encoded_as_an_image_of_its_size() -> None:
    """As the CLIP encodes it where it has its size, otherwise with the places resized."""
    trainer = make().eval()
    vision, branch = trainer.model.visual, trainer.dino.student
    with torch.no_grad():
        vision.positional_embedding.normal_()
        pixels = torch.randn(2, 3, 32, 32)
        vision.proj, kept = None, vision.proj
        assert torch.allclose(branch.encode(pixels, late=False), vision(pixels), atol=1e-5)
        vision.proj = kept
        small, grid = pixels[..., :16, :16], vision.positional_embedding[1:].view(4, 4, -1)
        resized = torch.nn.functional.interpolate(
            grid.permute(2, 0, 1)[None], (2, 2), mode="bicubic", align_corners=False
        )[0]
        tokens = [vision.class_embedding + vision.positional_embedding[0]] + [
            vision.conv1(small[:1, :, y * 8 :, x * 8 :][..., :8, :8]).flatten() + resized[:, y, x]
            for y in range(2)
            for x in range(2)
        ]
        tokens = vision.ln_pre(torch.stack(tokens)[None])
        patches = vision.transformer.resblocks[0](tokens[:, 1:])
        last = vision.transformer.resblocks[1](torch.cat([tokens[:, :1], patches], 1))
        found = branch.encode(small[:1], late=True)
    assert torch.allclose(found, vision.ln_post(last)[:, 0], atol=1e-5)


def test_which_weights_each_loss_reaches() -> None:
    trainer = make()
    encoder = trainer.model.visual.transformer.resblocks[0].mlp.c_fc.weight

    def reached(name: str) -> tuple[bool, bool, bool]:
        trainer.zero_grad()
        trainer(make_batch(done=0.5))[name].backward()
        weights = (encoder, trainer.head.layers[1].weight, trainer.dino.student.prototypes)
        return tuple(weight.grad is not None for weight in weights)

    assert reached("cluster") == (False, True, False)
    assert reached("dino") == (True, False, True)
    assert reached("contrastive") == (True, False, False)
    assert all(weight.grad is None for weight in trainer.dino.teacher.parameters())
    trainer.zero_grad()
    trainer(make_batch())["dino"].backward()
    assert trainer.dino.student.prototypes.grad is None, "they stay as they are at first"


def test_the_teacher_follows_while_training() -> None:
    trainer = make()
    before = [weight.clone() for weight in trainer.dino.teacher.parameters()]
    with torch.no_grad():
        for weight in trainer.dino.student.parameters():
            weight.add_(1.0)
    trainer.eval()(make_batch())
    assert all(map(torch.equal, trainer.dino.teacher.parameters(), before))
    trainer.train()(make_batch())
    for weight, old in zip(trainer.dino.teacher.parameters(), before, strict=True):
        assert torch.allclose(weight, old + 1 - MOMENTUM, atol=1e-5)


def test_distillation_may_be_left_out() -> None:
    trainer = make(vision=False)
    found = trainer(make_batch())
    assert trainer.dino is None
    assert float(found["dino"]) == 0
    assert "entropy" not in found


def test_what_is_saved_is_what_was_trained(drawn: Path, tmp_path: Path) -> None:
    plan, schedule = AfterVilSeg(), Schedule(steps=3, batch=6)
    assert plan.size(side=32).width == 128
    records = list(train_system(schedule, Recipe(24, 24), drawn, tmp_path, 3, TINY, plan))
    assert all(np.isfinite(record["dino"]) and record["cluster"] < 0 for record in records)
    out = finish(tmp_path, tmp_path / "shipped", "micro-after-vil-seg", "2026-01-01")
    tower = AfterVilSegTower(str(out), "cpu")
    assert "a reconstruction after ViL-Seg" in (out / "README.md").read_text()
    trainer = make().eval()
    trainer.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True)["module"])
    pixels = make_batch().pixels
    with torch.no_grad():
        tokens = tower.parts.blocks[-1].whole(tower.enter(pixels))
        shares = trainer.head(trainer.patches(pixels))
        assert torch.allclose(tower.head(tokens[:, 1:]), shares.flatten(1, 2), atol=1e-2)
        images = trainer.model.encode_image(pixels, normalize=True)
        found = normalize(tower.parts.project(tokens)[:, 0], dim=-1)
    assert torch.allclose(found, images, atol=1e-2)
