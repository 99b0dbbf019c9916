"""MaskCLIP+'s training: the teacher's labels, and that they can be learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate, normalize

from ovsslib.peers.maskclip import MaskClip, MaskClipConfig
from ovsslib.trained.frozen import Frozen
from ovsslib.trained.maskclip_plus import MaskClipPlusTrainer
from support.batches import make_batch
from support.tiny_clip import pattern, tiny

NAMES = ("car", "grass", "boat")


@pytest.mark.parametrize("residual", [False, True])
def test_labels_are_those_of_maskclip(tmp_path: Path, residual: bool) -> None:
    tower = tiny(tmp_path / "clip", layers=2)
    frozen = Frozen(str(tmp_path / "clip"))
    trainer = MaskClipPlusTrainer(frozen, NAMES, residual=residual)
    pixels = pattern()
    with torch.no_grad():
        found = trainer.labels(pixels, 8)
        plain = MaskClip(tower, MaskClipConfig(residual=residual)).features(pixels)
        texts = frozen.sentences([f"a photo of a {name}" for name in NAMES])
        for image, labels in zip(normalize(plain, dim=-1), found, strict=True):
            planes = (texts @ image.T).reshape(1, 3, 4, 4)
            large = interpolate(planes, (8, 8), mode="bilinear", align_corners=False)[0]
            assert torch.equal(labels, large.argmax(0))


def test_labels_are_learnt(tmp_path: Path) -> None:
    tiny(tmp_path / "clip", layers=2)
    frozen = Frozen(str(tmp_path / "clip"))
    trainer = MaskClipPlusTrainer(frozen, NAMES)
    some = make_batch()
    first = trainer(some)
    dense = trainer.head(some.pixels)
    texts = frozen.sentences([f"a photo of a {name}" for name in NAMES])
    logits = torch.einsum("behw,ke->bkhw", dense, texts)
    expected = cross_entropy(logits, trainer.labels(some.pixels, 8))
    assert float(first["labels"].detach()) == pytest.approx(float(expected.detach()), rel=1e-3)
    optimiser = torch.optim.AdamW(trainer.parameters(), lr=5e-3)
    for _ in range(60):
        optimiser.zero_grad()
        trainer(some)["labels"].backward()
        optimiser.step()
    last = trainer(some)
    assert float(last["labels"].detach()) < 0.6 * float(first["labels"].detach())
    assert float(last["found"]) > float(first["found"])
