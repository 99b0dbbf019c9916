"""PACL's training: its loss by loops, with either way to pick."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ovsslib.peers.pacl import PaclTower
from ovsslib.trained.frozen import Frozen
from ovsslib.trained.pacl import Pacl, PaclTrainer
from support.batches import make_batch
from support.tiny_clip import tiny

CAPTIONS = [["a red car"], ["grass"], ["a boat"]]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("tau", [1.0, 10.0])
def test_the_loss_by_loops(tmp_path: Path, tau: float, own: bool) -> None:
    tiny(tmp_path / "clip", layers=2)
    frozen = Frozen(str(tmp_path / "clip"))
    trainer, some = PaclTrainer(frozen, tau, own=own), make_batch(CAPTIONS)
    with torch.no_grad():
        found = float(trainer(some)["contrastive"])
        patches, texts = trainer.patches(some.pixels), frozen.captions(some.compared)
    cosines = torch.zeros(3, 3)
    for i in range(3):
        for j in range(3):
            picker = texts[i] if own else texts[j]
            weights = [math.exp(tau * float(row @ picker)) for row in patches[i]]
            picked = sum(w * row for w, row in zip(weights, patches[i], strict=True))
            cosines[i, j] = picked @ texts[j] / picked.norm()
    logits = cosines / 0.07
    expected = sum(
        -float(table.log_softmax(1)[i, i]) for table in (logits, logits.T) for i in range(3)
    )
    assert found == pytest.approx(expected / 6, abs=1e-3)


def test_the_clip_learns_nothing(tmp_path: Path) -> None:
    tiny(tmp_path / "clip", layers=2)
    plan = Pacl(clip=str(tmp_path / "clip"))
    system = plan.make(plan.size(), None)  # type: ignore[arg-type]
    system.trainer(make_batch(CAPTIONS))["contrastive"].backward()
    assert all(weight.grad is None for weight in system.trainer.frozen.tower.model.parameters())
    assert system.trainer.head.linear.weight.grad.abs().sum() > 0
    scores = system.scores(np.zeros((2, 32, 32, 3), np.uint8))(
        [0, 1, 1], ["a car", "grass", "a car"]
    )
    assert scores.shape == (3,)
    assert np.abs(scores).max() <= 1 + 1e-5
    system.save(tmp_path / "pacl")
    assert PaclTower(str(tmp_path / "pacl"), "cpu").system == "pacl"
