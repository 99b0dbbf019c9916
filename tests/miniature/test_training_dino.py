"""micro-dino's training: the loss by hand, crops, what the teacher does, a run from end to end."""

from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from typer.testing import CliRunner

from ovsslib.cli.main import app
from ovsslib.errors import OvssError
from ovsslib.miniature.training import dino as training
from ovsslib.miniature.training.card import finish
from ovsslib.miniature.training.dino import (
    DinoSize,
    DinoTrainer,
    crops,
    dino_size,
    evaluate_dino,
    evened,
    recoloured,
    train_micro_dino,
)
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.optim import optimisers
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.peers.dino import Dino
from support.helpers import one_error

TINY = DinoSize(side=32, width=32, heads=2, layers=2, hidden=32, bottleneck=16, prototypes=24)
RECIPE = Recipe(24, 24)


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    return [weight / sum(weights) for weight in weights]


def by_loops(logits: torch.Tensor) -> list[list[float]]:
    """Three times columns of sum 1, then rows of sum 1."""
    shares = [[math.exp(value - float(logits.max())) for value in row] for row in logits.tolist()]
    for _ in range(3):
        sums = [sum(row[k] for row in shares) for k in range(len(shares[0]))]
        shares = [[value / of for value, of in zip(row, sums, strict=True)] for row in shares]
        shares = [[value / sum(row) for value in row] for row in shares]
    return shares


def test_outputs_that_all_name_one_prototype_are_evened() -> None:
    logits = torch.randn(64, 8) + 20 * torch.eye(8)[0]
    assert (logits.softmax(-1).argmax(-1) == 0).all()
    shares = evened(logits)
    assert torch.allclose(shares.sum(1), torch.ones(64))
    assert torch.allclose(shares.sum(0), torch.full((8,), 8.0), rtol=0.1)


@pytest.mark.parametrize("late", [False, True])
def test_the_loss_is_that_of_every_two_crops(late: bool) -> None:
    torch.manual_seed(0)
    trainer = DinoTrainer(TINY)
    for weight in trainer.teacher.parameters():
        weight.add_(0.05 * torch.randn_like(weight))
    large, small = torch.randn(4, 3, 48, 48), torch.randn(6, 3, 16, 16)  # 2 images
    with torch.no_grad():
        found = trainer(large, small, late=late)
        outputs = trainer.teacher(large, late=late).double()
        student = [row for part in (large, small) for row in trainer.student(part, late=late)]
    targets = by_loops(outputs / 0.04)
    total, pairs = 0.0, 0
    for number, target in enumerate(targets):
        for other, row in enumerate(student):
            if other % 2 == number % 2 and other != number:  # of one image, but not the same crop
                logs = [math.log(share) for share in softmax((row.double() / 0.1).tolist())]
                total -= sum(p * log for p, log in zip(target, logs, strict=True))
                pairs += 1
    assert pairs == 2 * 2 * 4
    assert float(found["dino"]) == pytest.approx(total / pairs, abs=1e-4)
    entropies = [-sum(p * math.log(p) for p in target if p) for target in targets]
    assert float(found["entropy"]) == pytest.approx(np.mean(entropies), abs=1e-4)
    mean = np.mean(targets, axis=0)
    used = math.exp(-sum(p * math.log(p) for p in mean)) / 24
    assert float(found["used"]) == pytest.approx(used, abs=1e-4)


def test_the_class_token_may_join_late() -> None:
    branch = DinoTrainer(TINY).student.eval()
    pixels = torch.randn(2, 3, 32, 32)
    backbone = branch.backbone
    with torch.no_grad():
        tokens = backbone._pos_embed(backbone.patch_embed(pixels))
        patches = backbone.blocks[0](tokens[:, 1:])
        last = backbone.blocks[1](torch.cat([tokens[:, :1], patches], 1))
        for late, read in ((True, backbone.norm(last)[:, 0]), (False, backbone(pixels))):
            inner = branch.head(read)
            for found, row in zip(branch(pixels, late=late), inner, strict=True):
                for cosine, prototype in zip(found, branch.prototypes, strict=True):
                    expected = row @ prototype / row.norm() / prototype.norm()
                    assert float(cosine) == pytest.approx(float(expected), abs=1e-5)


def test_the_teacher_follows_and_learns_nothing_itself() -> None:
    trainer = DinoTrainer(TINY)
    with torch.no_grad():
        for weight in trainer.student.parameters():
            weight.add_(1.0)
    before = copy.deepcopy(trainer.teacher.state_dict())
    trainer.follow(0.75)
    for name, weight in trainer.teacher.state_dict().items():
        assert torch.allclose(weight, before[name] + 0.25, atol=1e-5), name
    trainer(torch.randn(2, 3, 32, 32), torch.randn(1, 3, 16, 16))["dino"].backward()
    assert all(weight.grad is None for weight in trainer.teacher.parameters())
    assert all(weight.grad is not None for weight in trainer.student.parameters())
    trainer.zero_grad()
    still = trainer(torch.randn(2, 3, 32, 32), torch.randn(1, 3, 16, 16), still=True)
    still["dino"].backward()
    assert trainer.student.prototypes.grad is None


def test_muon_takes_the_matrices_of_the_layers() -> None:
    trainer = DinoTrainer(TINY)
    names = {id(weight): name for name, weight in trainer.named_parameters()}
    _, muon = optimisers(trainer, 1e-3, 0.004, 0.05)
    taken = {names[id(weight)] for weight in muon.param_groups[0]["params"]}
    assert {name for name in taken if name.startswith("student.")} == {
        f"student.backbone.blocks.{layer}.{part}.weight"
        for layer in range(2)
        for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }


def test_crops_are_parts_of_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "recoloured", lambda pictures, rng: pictures)
    monkeypatch.setattr(training, "normalise", torch.from_numpy)
    ramp = np.linspace(0, 255, 112, dtype=np.uint8)
    picture = np.stack([*np.meshgrid(ramp, ramp), np.full((112, 112), 9, np.uint8)], -1)
    found = crops(np.stack([picture] * 200), (0.1, 0.3), 32, np.random.default_rng(0)).float()
    across, down = (
        found[:, 16, -1, 0] - found[:, 16, 0, 0],
        found[:, -1, 16, 1] - found[:, 0, 16, 1],
    )
    # From the middle of the first patch to that of the last.
    width, height = across.abs() / 255 * 32 / 31, down / 255 * 32 / 31
    area, ratio = width * height, width / height
    assert 0.09 < area.min() < 0.13
    assert 0.27 < area.max() < 0.32
    assert 0.7 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.4
    assert 0.3 < (across < 0).float().mean() < 0.7
    assert (found[..., 2] == 9).all()


def test_colours_change_and_some_are_lost() -> None:
    pictures = np.random.default_rng(1).integers(60, 180, (400, 4, 4, 3), dtype=np.uint8)
    found = recoloured(pictures, np.random.default_rng(0))
    assert found.dtype == np.uint8
    grey = (found.astype(int).max(-1) - found.min(-1) <= 1).all((1, 2))
    same = (found == pictures).all((1, 2, 3))
    assert 0.13 < grey.mean() < 0.27
    assert 0.1 < same.mean() < 0.23
    change = found[~grey & ~same].mean((1, 2, 3)) / pictures[~grey & ~same].mean((1, 2, 3))
    assert 0.55 < change.min() < 0.7
    assert 1.25 < change.max() < 1.55


def test_a_run_from_end_to_end(drawn: Path, tmp_path: Path) -> None:
    schedule = Schedule(steps=4, batch=6, save_every=2)
    whole = list(train_micro_dino(schedule, RECIPE, drawn, tmp_path / "whole", 4, TINY))
    half = train_micro_dino(schedule, RECIPE, drawn, tmp_path / "half", 4, TINY)
    assert [next(half)["step"] for _ in range(3)] == [1, 2, 3]
    half.close()
    again = list(train_micro_dino(schedule, RECIPE, drawn, tmp_path / "half", 4, TINY))
    assert [record["step"] for record in again] == [3, 4]
    states = [torch.load(tmp_path / name / "state.pt")["module"] for name in ("whole", "half")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    last = whole[-1]
    for name in ("used", "crop_at_1", "mirror_at_1"):
        assert 0 <= last[name] <= 1
    assert last["entropy"] <= last["loss"]

    out = finish(tmp_path / "whole", tmp_path / "micro-dino", "micro-dino", "2026-01-01")
    card = (out / "README.md").read_text()
    assert "No caption, no mask" in card
    assert "captions alone" not in card
    assert f"| mirror at 1 | {last['mirror_at_1']} |" in card
    assert "DINO ViT (`timm`), small" in card
    read = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    teacher = {
        name.removeprefix("teacher.backbone."): value
        for name, value in states[0].items()
        if name.startswith("teacher.backbone.")
    }
    for name, value in read.state_dict().items():
        assert torch.allclose(value, teacher[name], atol=1e-3), name
    colours = torch.rand(2, 3, 32, 32)
    tokens = Dino(str(out), "cpu").features(colours).tokens
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (training.MEAN, training.STD))
    with torch.no_grad():
        expected = read.forward_features((colours - mean) / std)[:, 1:]
    assert torch.allclose(tokens, expected, atol=1e-5)


def test_captions_are_not_looked_at(drawn: Path, tmp_path: Path) -> None:
    silent = shutil.copytree(drawn, tmp_path / "silent")
    for path in silent.glob("*.npz"):
        with np.load(path) as stored:
            pictures = stored["pictures"]
        np.savez(path, pictures=pictures, captions=json.dumps([[]] * len(pictures)))
    schedule = Schedule(steps=2, batch=6)
    curves = [
        [record["dino"] for record in train_micro_dino(schedule, RECIPE, cache, folder, 9, TINY)]
        for cache, folder in ((drawn, tmp_path / "a"), (silent, tmp_path / "b"))
    ]
    assert curves[0] == curves[1]


def test_figures_of_images_that_are_easily_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "recoloured", lambda pictures, rng: pictures)
    trainer, rng = DinoTrainer(TINY), np.random.default_rng(0)
    # Each image has one colour of its own; no patch can be told from another.
    even = np.broadcast_to(rng.integers(0, 255, (12, 1, 1, 3)), (12, 32, 32, 3)).astype(np.uint8)
    figures = evaluate_dino(trainer, even, TINY, batch=5)
    assert figures["crop_at_1"] == 1
    assert figures["mirror_at_1"] == pytest.approx(1 / 16, abs=1e-4)
    assert figures["loss"] > figures["entropy"]
    # Each patch is its own mirror image, and before training no patch knows its place.
    half = rng.integers(0, 255, (12, 32, 4, 4, 3), dtype=np.uint8)
    noise = np.concatenate([half, half[:, :, :, ::-1]], 3).reshape(12, 32, 32, 3)
    assert evaluate_dino(trainer, noise, TINY)["mirror_at_1"] == 1
    assert trainer.training


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(OvssError, match="side 30 is not a multiple of 8"):
        DinoSize(side=30)
    with pytest.raises(OvssError, match="width 130 is not a multiple of 4"):
        dino_size(width=130)
    with pytest.raises(OvssError, match="unknown size of micro-dino 'text_layers'"):
        dino_size(text_layers=2)


def test_command(drawn: Path, tmp_path: Path) -> None:
    words = ["train", "micro-dino", "--cache", str(drawn), "--run", str(tmp_path / "run")]
    small = "--pictures 24 --heldout 24 --steps 2 --batch 4 --side 32 --width 32".split()
    done = CliRunner().invoke(app, [*words, *small, "--dtype", "float32", "--every", "2"])
    assert done.exit_code == 0, done.output
    assert f"micro-dino is in {tmp_path / 'run' / 'model'}" in done.stdout
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_size < 4e6
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "`ovss train micro-dino --steps 2 --batch 4" in card
    wrong = CliRunner().invoke(app, [*words, *small, "--text-layers", "2"])
    one_error(wrong, 2, "unknown size of micro-dino 'text_layers'")
    one_error(CliRunner().invoke(app, [*words, "--recipe", "blip"]), 2, "model to train")
