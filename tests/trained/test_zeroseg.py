"""ZeroSeg's training: its losses by loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ovsslib.peers.zeroseg import ZeroSegTower
from ovsslib.trained.frozen import Frozen
from ovsslib.trained.zeroseg import ZeroSeg, ZeroSegTrainer
from support.batches import make_batch
from support.tiny_clip import tiny

CAPTIONS = [["a car"]] * 2


def test_losses_by_loops(tmp_path: Path) -> None:
    tiny(tmp_path / "clip", layers=1)
    trainer = ZeroSegTrainer(Frozen(str(tmp_path / "clip")), 2).eval()
    with torch.no_grad():
        found = trainer(make_batch(CAPTIONS))
        some = make_batch(CAPTIONS)
        kept = torch.from_numpy(
            some.rng.permuted(np.tile(np.arange(16), (2, 1)), axis=1)[:, :6]  # 0.4 of 16
        )
        tokens = trainer.head.encode(some.pixels, kept)
        groups, _ = trainer.head.groups(tokens)
        views = trainer.views(some.pictures)
        vectors, units = trainer.image(groups), trainer.head.features(groups)
        rebuild = float(trainer.pixels.loss(tokens, kept, some.pixels))
    distances, matches, cells = [], [], []
    for b in range(2):
        distances += [float((vectors[b] - view).abs().sum()) for view in views[b]]
        best = [
            min((float((group - views[b, v]).abs().sum()), v) for v in range(1, 5))
            for group in units[b]
        ]
        matches += [distance for distance, _ in best]
        cells.append(len({v for _, v in best}))
    assert float(found["rebuild"]) == pytest.approx(rebuild, abs=1e-5)
    assert float(found["distil"]) == pytest.approx(np.mean(distances), abs=1e-4)
    assert float(found["match"]) == pytest.approx(np.mean(matches), abs=1e-4)
    assert float(found["cells"]) == pytest.approx(np.mean(cells))


def test_the_whole_image_alone_matches_no_cell(tmp_path: Path) -> None:
    tiny(tmp_path / "clip", layers=1)
    plan = ZeroSeg(clip=str(tmp_path / "clip"), grid=1)
    system = plan.make(plan.size(), None)  # type: ignore[arg-type]
    found = system.trainer(make_batch(CAPTIONS))
    assert float(found["match"]) == 0
    assert "cells" not in found
    (found["rebuild"] + found["distil"] + found["match"]).backward()
    for name in ("embed", "layers", "gather", "after"):
        part = getattr(system.trainer.head, name)
        assert any(weight.grad is not None for weight in part.parameters()), name
    system.save(tmp_path / "zeroseg")
    tower = ZeroSegTower(str(tmp_path / "zeroseg"), "cpu")
    assert torch.allclose(tower.head.positions, system.trainer.head.positions, atol=1e-3)
