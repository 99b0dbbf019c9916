"""TCL's training: its losses by loops, what is locked, and where masks start."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ovsslib.miniature.training.blip import normalise
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.peers.tcl import TclTower
from ovsslib.trained.frozen import Frozen
from ovsslib.trained.system import train_system
from ovsslib.trained.tcl import Tcl, TclTrainer, gumbel_sigmoid, start_masks, variation
from support.batches import CAPTIONS, make_batch
from support.tiny_clip import pattern, tiny


@pytest.fixture
def frozen(tmp_path: Path) -> Frozen:
    tiny(tmp_path / "clip", layers=2)
    return Frozen(str(tmp_path / "clip"))


def trainer_of(frozen: Frozen) -> TclTrainer:
    """A trainer whose decoder does something."""
    trainer = TclTrainer(frozen)
    with torch.no_grad():
        for up in trainer.head.ups:
            up.gates.fill_(0.4)
        trainer.head.calibrate(3.0, 0.1)
    return trainer


def cross_entropy(cosines: list[list[float]], scale: float, fits: torch.Tensor) -> float:
    """CLIP's symmetric loss, pair by pair."""
    total, n = 0.0, len(cosines)
    for i in range(n):
        row = sum(math.exp(scale * cosines[i][j]) for j in range(n) if not fits[i, j])
        column = sum(math.exp(scale * cosines[j][i]) for j in range(n) if not fits[j, i])
        total += math.log(row) + math.log(column) - 2 * scale * cosines[i][i]
    return total / (2 * n)


def test_every_loss_by_loops(frozen: Frozen) -> None:
    trainer, some = trainer_of(frozen), make_batch(pixels=pattern(3))
    torch.manual_seed(5)
    with torch.no_grad():
        found = trainer(some)
        torch.manual_seed(5)
        texts = frozen.captions(some.compared)
        dense = trainer.head(frozen.entering(some.pixels))
        side = dense.shape[-1]
        masks = [[torch.zeros(side, side) for _ in range(3)] for _ in range(3)]
        for i in range(3):
            for j in range(3):
                for y in range(side):
                    for x in range(side):
                        cosine = normalize(dense[i, :, y, x], dim=0) @ texts[j]
                        masks[i][j][y, x] = 3.0 * (cosine - 0.1)
        hard = (gumbel_sigmoid(torch.stack([masks[i][i] for i in range(3)])) > 0.5).float()
        masks = [[mask.sigmoid() for mask in row] for row in masks]
        seen = some.pixels * hard.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
        image = (frozen.images(seen) @ texts.T).tolist()
        regions = [[(masks[i][j] * dense[i]).sum((1, 2)) for j in range(3)] for i in range(3)]
        pooled = [[float(normalize(row[j], dim=0) @ texts[j]) for j in range(3)] for row in regions]
    fits = some.fits
    assert fits[0, 1]
    assert float(found["image"]) == pytest.approx(cross_entropy(image, 1 / 0.07, fits), rel=1e-3)
    assert float(found["feature"]) == pytest.approx(cross_entropy(pooled, 1 / 0.07, fits), rel=1e-3)
    right = np.mean([float(masks[i][i].mean()) for i in range(3)])
    wrong = [float(masks[i][j].mean()) for i in range(3) for j in range(3) if i != j]
    wrong.remove(float(masks[0][1].mean()))
    assert float(found["area"]) == pytest.approx(abs(right - 0.4) + np.mean(wrong), abs=1e-5)
    level = float(dense.square().mean().sqrt())
    every = torch.stack([torch.stack(row) for row in masks])
    smooth = variation(dense / level) + variation(every)
    assert float(found["smooth"]) == pytest.approx(float(smooth), abs=1e-4)


def test_variation_of_a_small_plane() -> None:
    plane = torch.tensor([[0.0, 1.0, 1.0], [2.0, 2.0, 5.0]])
    assert float(variation(plane)) == pytest.approx((1 + 0 + 0 + 3) / 4 + (2 + 1 + 4) / 3)


def test_hard_masks_have_the_gradient_of_soft_ones() -> None:
    logits = torch.full((2000,), 0.8, requires_grad=True)
    hard = gumbel_sigmoid(logits)
    assert set(hard.detach().round(decimals=4).tolist()) == {0.0, 1.0}
    share = 1 / (1 + math.exp(-0.8))
    assert float(hard.detach().mean()) == pytest.approx(share, abs=0.03)
    hard.sum().backward()
    assert float(logits.grad.min()) > 0
    assert float(logits.grad.max()) <= 0.25 + 1e-6


@pytest.mark.parametrize(("done", "moves"), [(0.5, False), (0.7, True)])
def test_the_last_layer_is_locked_at_first(frozen: Frozen, done: float, moves: bool) -> None:
    trainer = trainer_of(frozen)
    losses = trainer(make_batch(done=done))
    (losses["image"] + losses["feature"] + losses["area"] + losses["smooth"]).backward()
    assert any(weight.grad is not None for weight in trainer.head.layers.parameters()) == moves
    for weight in (trainer.head.projection, trainer.head.weight, trainer.head.ups[0].gates):
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0


def test_a_batch_in_which_all_pairs_fit_has_an_area(frozen: Frozen) -> None:
    found = TclTrainer(frozen)(make_batch([["grass"], ["grass"]]))
    assert float(found["wrong_area"]) == 0
    assert all(torch.isfinite(value) for value in found.values())


def test_without_a_prior_area_is_no_loss(frozen: Frozen) -> None:
    assert float(TclTrainer(frozen, prior=None)(make_batch())["area"].detach()) == 0


def test_masks_start_where_sixty_percent_of_a_right_image_is_outside(frozen: Frozen) -> None:
    trainer = TclTrainer(frozen)
    pictures = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    start_masks(trainer.head, frozen, pictures, CAPTIONS)
    with torch.no_grad():
        dense = trainer.head(frozen.entering(normalise(pictures)))
        texts = frozen.sentences([texts[0] for texts in CAPTIONS])
        cosines = torch.einsum("behw,be->bhw", normalize(dense, dim=1), texts)
        masks = trainer.head.logits(cosines)
    assert float((masks > 0).float().mean()) == pytest.approx(0.4, abs=0.03)
    assert float(masks.std()) == pytest.approx(2.0, rel=0.05)


def test_the_saved_head_is_read_back(drawn: Path, tmp_path: Path) -> None:
    tiny(tmp_path / "clip", layers=2)
    plan = Tcl(clip=str(tmp_path / "clip"))
    run = tmp_path / "run"
    schedule = Schedule(steps=2, batch=6)
    records = list(train_system(schedule, Recipe(24, 24), drawn, run, 1, plan.size(), plan))
    assert 0 <= records[-1]["pairs_ranked"] <= 1
    state = torch.load(run / "state.pt", weights_only=True)["module"]
    assert not any(name.startswith("frozen") for name in state)
    tower = TclTower(str(run / "model"), "cpu")
    for name, value in tower.head.state_dict().items():
        assert torch.allclose(value, state[f"head.{name}"], atol=2e-3), name
