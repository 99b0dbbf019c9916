"""SegCLIP's training: its losses by loops, and the CLIP that is changed and saved."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ovsslib.miniature.training import clip as clips
from ovsslib.miniature.training.clip import ClipSize
from ovsslib.peers.segclip import SegClipTower
from ovsslib.trained.frozen import Frozen
from ovsslib.trained.segclip import SegClip, SegClipTrainer, agreement
from support.batches import make_batch


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """A small CLIP as `ovss train micro-clip` writes it."""
    size = ClipSize(side=32, width=32, image_layers=2, text_layers=1)
    torch.manual_seed(0)
    clips.save(clips.build(size), size, tmp_path / "start")
    return str(tmp_path / "start")


@pytest.mark.parametrize("sharp", [False, True])
def test_superpixels_by_loops(sharp: bool) -> None:
    soft = torch.randn(2, 3, 5).softmax(1)
    hard = torch.nn.functional.one_hot(soft.argmax(1), 3).mT.float()
    numbers = torch.tensor([[0, 0, 1, 1, 1], [2, 7, 7, 2, 5]])
    total = 0.0
    for b in range(2):
        for p in range(5):
            group = [q for q in range(5) if numbers[b, q] == numbers[b, p]]
            means = [
                float(np.mean([float((soft if sharp else hard)[b, c, q]) for q in group]))
                for c in range(3)
            ]
            own = [float((soft if sharp else hard)[b, c, p]) for c in range(3)]
            if not sharp:
                own, means = (
                    [math.exp(v) / sum(map(math.exp, values)) for v in values]
                    for values in (own, means)
                )
            both = zip(own, means, strict=True)
            total += sum(a * math.log(a / m) + m * math.log(m / a) for a, m in both)
    shares = soft if sharp else hard.softmax(1)
    found = float(agreement(shares, hard, numbers, sharp))
    assert found == pytest.approx(total / 2 / 30, abs=1e-5)


def test_the_released_loss_is_nearly_flat() -> None:
    """The softmax of a one-hot of 8 regions is 0.28 against 0.10."""
    hard = torch.nn.functional.one_hot(torch.arange(8), 8)[None].mT.float()
    shares = hard.softmax(1)
    assert float(shares.max()) == pytest.approx(math.e / (math.e + 7))
    together = torch.zeros(1, 8, dtype=torch.long)
    released = float(agreement(shares, hard, together, False))
    sharp = float(agreement(0.99 * hard + 0.01 / 8, hard, together, True))
    assert released < 0.05 * sharp


def test_the_vector_of_an_image(clip: str) -> None:
    trainer = SegClipTrainer(Frozen(clip)).eval()
    vision, pixels = trainer.model.visual, make_batch().pixels
    with torch.no_grad():
        tokens = vision._embeds(pixels)[:, 1:]
        for layer in vision.transformer.resblocks[:-1]:
            tokens = layer(tokens)
        gathered = trainer.head(tokens)[0]
        out = vision.transformer.resblocks[-1](gathered)
        expected = normalize(vision.ln_post(out.max(1).values) @ vision.proj, dim=-1)
        assert torch.allclose(trainer.images(pixels), expected, atol=1e-5)


def test_all_of_it_learns_and_is_read_back(clip: str, tmp_path: Path) -> None:
    plan = SegClip(clip=clip)
    system = plan.make(plan.size(), None)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in system.trainer.model.state_dict().items()}
    losses = system.trainer(make_batch())
    sum(losses[name] for name in system.weights).backward()
    lacking = {name for name, weight in system.trainer.named_parameters() if weight.grad is None}
    assert lacking == {"model.visual.class_embedding"} - {
        name for name, weight in system.trainer.named_parameters() if weight.grad is not None
    }
    with torch.no_grad():
        for weight in system.trainer.parameters():
            weight.add_(0.01)
    system.save(tmp_path / "segclip")
    tower = SegClipTower(str(tmp_path / "segclip"), "cpu")
    read = tower.model.state_dict()
    assert torch.allclose(read["visual.proj"], before["visual.proj"] + 0.01, atol=1e-3)
    trainer = system.trainer.eval()
    with torch.no_grad():
        units, whole, share = tower.groups(make_batch().pixels)
        assert torch.allclose(whole, trainer.images(make_batch().pixels), atol=0.02)
    assert units.shape == (3, 8, 32)
    assert share.shape == (3, 8, 4, 4)


def test_superpixels_can_be_left_out(clip: str) -> None:
    trainer = SegClipTrainer(Frozen(clip), superpixels=False)
    assert float(trainer(make_batch())["superpixel"]) == 0
