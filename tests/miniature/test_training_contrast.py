"""micro-blip as BLIP was trained: contrast, hard negatives, two stages; no mask anywhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ovsslib.miniature.training import contrast
from ovsslib.miniature.training.blip import BlipSize, tensors
from ovsslib.miniature.training.contrast import ContrastTrainer, Stage, hardest, sight
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.negatives import Caption, Packer
from ovsslib.miniature.training.pairs import may_fit
from ovsslib.miniature.training.recipe import Recipe, train_micro_blip_contrast
from ovsslib.miniature.training.wordpiece import named, tokenizer
from ovsslib.vlm import load_vlm
from support.helpers import ROOT
from support.no_masks import without_masks

TINY = BlipSize(side=32, patch=8, width=32, heads=2, image_layers=1, text_layers=2, positions=48)
CAPTIONS = [
    ["a red car on the grass", "a car"],
    ["a blue bus on the road", "a bus"],
    ["a house beside a tree", "a tree"],
]


@pytest.fixture(scope="module")
def trainer() -> ContrastTrainer:
    torch.manual_seed(0)
    return ContrastTrainer(TINY, Packer(tokenizer(), TINY.positions))


def test_sentences_do_not_depend_on_their_batch(trainer: ContrastTrainer) -> None:
    texts = ["a car", "a red car on the grass beside a tree"]
    with torch.no_grad():
        both = trainer.sentences(texts)
        alone = torch.cat([trainer.sentences([text]) for text in texts])
    assert torch.allclose(both, alone, atol=1e-5)
    assert torch.allclose(both.norm(dim=1), torch.ones(2), atol=1e-5)
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_no_negative_that_may_be_true() -> None:
    images = [named(texts) for texts in CAPTIONS]
    fits = may_fit(images, [named([texts[1]]) for texts in CAPTIONS])
    assert not fits.any()
    images[0] |= {"bus"}
    fits = may_fit(images, [named([texts[1]]) for texts in CAPTIONS])
    assert fits.tolist() == [[False, True, False], [False] * 3, [False] * 3]
    logits = torch.zeros(3, 3).masked_fill(fits, -torch.inf)
    drawn = [hardest(logits, np.random.default_rng(seed)) for seed in range(20)]
    assert {number for each in drawn for number in each[0]} == {2}
    assert {number for each in drawn for number in each[1]} == {0, 2}


def test_the_hardest_are_drawn_most() -> None:
    logits = torch.tensor([[9.0, 4.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    rng = np.random.default_rng(0)
    drawn = [number for _ in range(100) for number in hardest(logits, rng)[0]]
    assert drawn.count(1) > 180
    # Where every other caption may fit, any of them will do.
    blank = torch.full((2, 2), -torch.inf).fill_diagonal_(1.0)
    assert hardest(blank, rng, 1) == [[1], [0]]


@pytest.mark.parametrize("stage", ["contrast", "all", "fine"])
def test_losses_of_each_stage(trainer: ContrastTrainer, stage: Stage) -> None:
    rng = np.random.default_rng(1)
    pixels = torch.randn(3, 3, 32, 32)
    figures = trainer(pixels, CAPTIONS, rng, whole=True, stage=stage)
    assert 0.5 < figures["contrast"] < 3
    assert (figures["masked"] > 0) == (stage == "all")
    assert (figures["match"] > 0) == (stage != "contrast")
    assert figures.get("match_accuracy", 0) <= 1
    sum(figures[name] for name in ("contrast", "match", "masked")).backward()
    matched = {"itm_head"} if stage != "contrast" else set()
    for part in {"vision_proj", "text_proj", "vision_model", "text_encoder"} | matched:
        assert any(
            weight.grad is not None and weight.grad.abs().max() > 0
            for weight in getattr(trainer.model, part).parameters()
        ), part
    trainer.zero_grad()


def test_local_tokens() -> None:
    """The contrast reads patches, not CLS; after it the image encoder is locked."""
    torch.manual_seed(0)
    local = ContrastTrainer(TINY, Packer(tokenizer(), TINY.positions), local=True)
    pixels = torch.randn(3, 3, 32, 32)

    def learns(stage: Stage, part: str) -> bool:
        local.zero_grad()
        figures = local(pixels, CAPTIONS, np.random.default_rng(1), stage=stage)
        sum(figures[name] for name in ("contrast", "match", "masked")).backward()
        weights = getattr(local.model, part).parameters()
        return any(weight.grad is not None and bool(weight.grad.any()) for weight in weights)

    for part in ("vision_model", "vision_proj"):
        assert learns("contrast", part)
        assert not learns("all", part)
        assert not learns("fine", part)
    assert learns("all", "text_encoder")
    # Of each feature the largest over patches; what CLS knows does not matter.
    image = torch.randn(2, 5, TINY.width)
    parts = local.model.vision_proj(image[:, 1:]).detach()
    expected = [[max(patch[k] for patch in one) for k in range(parts.shape[-1])] for one in parts]
    found = local.pooled(image).detach()
    assert torch.allclose(found, torch.nn.functional.normalize(torch.tensor(expected), dim=-1))
    assert torch.equal(found, local.pooled(torch.cat([-image[:, :1], image[:, 1:]], 1)))


def test_what_is_not_seen_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one layer the words have nothing to tell yet: a blind `[ENC]` knows no image."""
    torch.manual_seed(1)
    size = BlipSize(32, 8, 32, 2, 1, text_layers=1, positions=48)
    one = ContrastTrainer(size, Packer(tokenizer(), size.positions))
    given = [[Caption("a red car"), Caption("a bus")]] * 2
    pack = tensors(one.packer.arrange(given, np.random.default_rng(0), mask_share=0.0))
    image, rng = torch.randn(2, 5, 32), np.random.default_rng(0)
    other = torch.cat([torch.randn(2, 1, 32), image[:, 1:]], 1)  # another CLS token

    def moved(seen: Tensor, changed: Tensor) -> Tensor:
        return (one.read(image, pack, seen) - one.read(changed, pack, seen)).abs().amax(-1) > 1e-6

    monkeypatch.setattr(contrast, "HIDDEN", 1.0)
    monkeypatch.setattr(contrast, "BLIND", 0.0)
    assert not moved(sight(pack, 5, rng), other).any()
    assert moved(sight(pack, 5, rng), -image).all()
    monkeypatch.setattr(contrast, "HIDDEN", 0.0)
    assert moved(sight(pack, 5, rng), other).all()
    assert torch.allclose(one.read(image, pack), one.read(image, pack, sight(pack, 5, rng)))
    monkeypatch.setattr(contrast, "BLIND", 1.0)
    blind = ~moved(sight(pack, 5, rng), -image)
    assert [row.nonzero().flatten().tolist() for row in blind] == pack["starts"].tolist()


def test_learning_lowers_the_losses(drawn: Path, tmp_path: Path) -> None:
    schedule = Schedule(steps=30, batch=12, rate=3e-3)
    recipe = Recipe(24, 24, first_share=0.0, last_share=0.2)
    records = list(train_micro_blip_contrast(schedule, recipe, drawn, tmp_path, 30, TINY))
    masked = [record["masked"] for record in records]
    assert np.mean(masked[19:24]) < np.mean(masked[:5]) - 0.3
    assert masked[24:] == [0.0] * 6
    assert 0 <= records[-1]["pairs_ranked"] <= 1
    matcher = load_vlm(str(tmp_path / "model"), "cpu")
    assert (matcher.layers, matcher.heads) == (2, 2)


BLIND = """
from pathlib import Path
from ovsslib.miniature.training import contrast
from ovsslib.miniature.training.blip import BlipSize, tensors
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.pairs import may_fit
from ovsslib.miniature.training.recipe import Recipe, train_micro_blip_contrast
size = BlipSize(side=32, patch=8, width=32, heads=2, image_layers=1, text_layers=2, positions=48)
cache, run = Path(sys.argv[1]), Path(sys.argv[2])
for r in train_micro_blip_contrast(Schedule(steps=2, batch=4), Recipe(24, 24), cache, run, 1, size):
    print(r["step"], r["contrast"], r["match"])
"""


@pytest.mark.slow
def test_training_sees_no_mask(drawn: Path, tmp_path: Path) -> None:
    """It runs where nothing that draws or reads masks can be imported, and repeats exactly."""
    printed = [
        subprocess.run(
            without_masks(BLIND, drawn, tmp_path / name),
            check=True,
            cwd=ROOT,
            capture_output=True,
            text=True,
        ).stdout
        for name in ("a", "b")
    ]
    assert printed[0] == printed[1]
    assert len(printed[0].splitlines()) == 2
