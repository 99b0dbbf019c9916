"""The micro models' training code, and what the shipped ones do."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch

from ovsslib.miniature.training import cache as data
from ovsslib.miniature.training.blip import BlipSize, MicroBlipTrainer, normalise, save, tensors
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.negatives import Packer
from ovsslib.miniature.training.patches import smooth_max, through
from ovsslib.miniature.training.recipe import Recipe, blip_scores, evaluate_matcher
from ovsslib.miniature.training.wordpiece import tokenizer
from support.helpers import ROOT

TINY = BlipSize(side=32, patch=8, width=32, heads=2, image_layers=1, text_layers=2, positions=48)
CAPTIONS = [
    "a red car next to a street light",
    "a picture of grass fire hydrant",
    "a cat, with a brick wall and a mushroom",
]


def test_packed_captions_do_not_see_each_other():
    torch.manual_seed(0)
    trainer = MicroBlipTrainer(TINY).eval()
    packer = Packer(tokenizer(), TINY.positions)
    rng = np.random.default_rng(0)
    quiet = {"false_share": 0.0, "mask_share": 0.0, "shift_share": 0.0}
    pixels = normalise(np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), dtype=np.uint8))
    with torch.no_grad():
        image = trainer.encode(pixels)
        pack = tensors(packer.pack([CAPTIONS], rng, 3, **quiet))
        together = trainer.read(image, pack)[0, pack["starts"][0]]
        order = [int((pack["ids"][0, s + 1 : s + 4]).sum()) for s in pack["starts"][0]]
        alone = {}
        for caption in CAPTIONS:
            one = tensors(packer.pack([[caption]], rng, 1, **quiet))
            alone[int(one["ids"][0, 1:4].sum())] = trainer.read(image, one)[0, 0]
    for key, states in zip(order, together, strict=True):
        assert torch.allclose(states, alone[key], atol=1e-5)


def test_windows_and_dropped_patches_keep_the_shape_of_the_problem():
    trainer = MicroBlipTrainer(TINY)
    pixels = torch.randn(2, 3, 32, 32)
    full = trainer.encode(pixels)
    assert full.shape == (2, 17, 32)
    lengths = {trainer.encode(pixels, np.random.default_rng(s)).shape[1] for s in range(12)}
    assert max(lengths) <= 14
    assert len(lengths) > 1


def test_saved_model_gives_the_trainers_scores(tmp_path):
    from ovsslib.vlm import load_vlm

    torch.manual_seed(0)
    trainer = MicroBlipTrainer(TINY).eval()
    save(trainer, tmp_path / "m")
    matcher = load_vlm(str(tmp_path / "m"))
    packer = Packer(tokenizer(), TINY.positions)
    pixels = torch.randn(1, 3, 32, 32)
    quiet = {"false_share": 0.0, "mask_share": 0.0, "shift_share": 0.0}
    with torch.no_grad():
        pack = tensors(packer.pack([[CAPTIONS[0]]], np.random.default_rng(0), 1, **quiet))
        ours = trainer.model.itm_head(trainer.read(trainer.encode(pixels), pack)[:, 0])
        theirs = matcher.match(matcher.encode_images(pixels), [matcher.tokenize(CAPTIONS[0])], 1)
    assert torch.allclose(ours, theirs.logits.float(), atol=2e-2)


def test_micro_clip_trains_and_loads_through_open_clip(drawn, tmp_path):
    import open_clip

    from ovsslib.miniature.training.clip import ClipSize, Words, train_micro_clip

    size = ClipSize(side=32, width=32, image_layers=1, text_layers=1)
    records = list(
        train_micro_clip(Schedule(steps=2, batch=8), Recipe(24, 24), drawn, tmp_path, 2, size)
    )
    assert np.isfinite(records[-1]["contrastive"])
    assert "match_accuracy" not in records[-1]
    name = f"local-dir:{tmp_path / 'model'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    words = open_clip.get_tokenizer(name)
    texts = ["a red mushroom", "grass"]
    assert torch.equal(words(texts), Words()(texts))
    from PIL import Image

    pixels = preprocess(Image.fromarray(np.zeros((20, 40, 3), np.uint8)))[None]
    assert pixels.shape == (1, 3, 32, 32)
    assert torch.allclose(pixels[0], normalise(np.zeros((1, 32, 32, 3), np.uint8))[0], atol=1e-5)
    with torch.no_grad():
        assert model.encode_text(words(texts)).shape == (2, 32)


def draw_held(folder, side):
    """The two held-out sets, 150 images each."""
    for split in data.HELD:
        list(data.prepare(folder, split, 150, workers=1))
    return data.load_held(folder, 150, side)


@pytest.mark.slow
def test_shipped_micro_blip_reads_pictures(tmp_path):
    """On held-out scenes drawn here it does what its card says, within sampling error."""
    from transformers import BlipForImageTextRetrieval

    folder = ROOT / "data" / "checkpoints" / "micro-blip"
    training = json.loads((folder / "training.json").read_text())
    size = BlipSize(**training["recipe"]["size"])
    trainer = MicroBlipTrainer(size)
    trainer.model = BlipForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32)
    held = draw_held(tmp_path, size.side)
    packer = Packer(tokenizer(), size.positions)
    figures = evaluate_matcher(trainer, partial(blip_scores, trainer, packer=packer), held)
    for name in ("match_accuracy", "pairs_ranked", "novel_pairs_ranked"):
        assert figures[name] > 0.8, "chance is 0.5"
        assert figures[name] == pytest.approx(training["heldout"][-1][name], abs=0.08)
    assert sum(p.stat().st_size for p in folder.iterdir()) < 12e6


@pytest.mark.slow
def test_shipped_micro_bridgetower_reads_pictures(tmp_path):
    """On held-out scenes drawn here it does what its card says, within sampling error."""
    from ovsslib.miniature.training.bpe import tokenizer as byte_tokenizer
    from ovsslib.miniature.training.bridgetower import BridgeTowerSize, MicroBridgeTowerTrainer
    from ovsslib.miniature.training.bridgetower_recipe import bridgetower_scores
    from ovsslib.miniature.training.rows import RowPacker
    from ovsslib.vlm import load_vlm

    folder = ROOT / "data" / "checkpoints" / "micro-bridgetower"
    training = json.loads((folder / "training.json").read_text())
    trainer = MicroBridgeTowerTrainer(BridgeTowerSize(**training["recipe"]["size"]))
    trainer.net = load_vlm(folder, "cpu").model
    held = draw_held(tmp_path, trainer.size.side)
    packer = RowPacker(byte_tokenizer(), 96)
    scores = partial(bridgetower_scores, trainer, packer=packer)
    figures = evaluate_matcher(trainer, scores, held)
    for name in ("match_accuracy", "pairs_ranked", "novel_pairs_ranked"):
        assert figures[name] > 0.8, "chance is 0.5"
        assert figures[name] == pytest.approx(training["heldout"][-1][name], abs=0.08)
    assert sum(p.stat().st_size for p in folder.iterdir()) < 12e6


@pytest.mark.slow
def test_shipped_micro_clip_ranks_captions(tmp_path):
    """Loaded through open_clip's own API it does what its card says, within sampling error."""
    import open_clip

    from ovsslib.miniature.training.clip import Words, clip_scores

    folder = ROOT / "data" / "checkpoints" / "micro-clip"
    training = json.loads((folder / "training.json").read_text())
    model = open_clip.create_model(f"local-dir:{folder}").float()
    held = draw_held(tmp_path, training["recipe"]["size"]["side"])
    figures = evaluate_matcher(model, clip_scores(model, Words()), held, threshold=False)
    assert figures["pairs_ranked"] > 0.7, "chance is 0.5"
    assert figures["pairs_ranked"] == pytest.approx(
        training["heldout"][-1]["pairs_ranked"], abs=0.08
    )
    assert sum(p.stat().st_size for p in folder.iterdir()) < 12e6


def test_smooth_max_lies_between_mean_and_maximum():
    scores = torch.randn(3, 50, 7)
    pooled = smooth_max(scores)
    assert pooled.shape == (3, 7)
    assert torch.all(pooled > scores.mean(1))
    assert torch.all(pooled < scores.amax(1))
    assert torch.allclose(smooth_max(scores, 1e-4), scores.mean(1), atol=1e-2)
    same = torch.full((1, 9, 1), 2.5)
    assert torch.allclose(smooth_max(same), same[:, 0])


def test_a_late_class_token_is_not_seen_before_the_last_layer():
    layers = [lambda tokens: tokens + tokens.sum(1, keepdim=True) for _ in range(3)]
    tokens = torch.zeros(1, 3, 2)
    tokens[:, 0] = 1.0
    assert through(layers, tokens).flatten().tolist() == [22.0, 22.0, 21.0, 21.0, 21.0, 21.0]
    late = through(layers, tokens, late=True)
    assert late.flatten().tolist() == [2.0, 2.0, 1.0, 1.0, 1.0, 1.0], "seen by the last alone"
