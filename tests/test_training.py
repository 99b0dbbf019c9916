"""Training of the micro models: true negatives, packing, resuming, and no mask anywhere."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ovsslib.diorama.classes import CLASSES
from ovsslib.errors import OvssError
from ovsslib.training import data
from ovsslib.training.card import finish, thin_curve
from ovsslib.training.evaluate import hard_negatives, match_accuracy, retrieval_at_1
from ovsslib.training.loop import Schedule, batch_indices, run
from ovsslib.training.micro_blip import BlipSize, MicroBlipTrainer, normalise, save, tensors
from ovsslib.training.negatives import IGNORE, Packer, name_list, swap
from ovsslib.training.recipes import Recipe, evaluate_blip, train_micro_blip
from ovsslib.training.words import (
    BAG,
    bag_of_words,
    colour_mentions,
    mentions,
    named,
    tokenizer,
    vocabulary,
)

ROOT = Path(__file__).resolve().parents[1]
TINY = BlipSize(side=32, patch=8, width=32, heads=2, image_layers=1, text_layers=2, positions=48)
CAPTIONS = [
    "a red car next to a street light",
    "a picture of grass fire hydrant",
    "a cat, with a brick wall and a mushroom",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    for split in ("train", "heldout"):
        assert list(data.prepare(folder, split, 24, workers=1))[-1] == (1, 1)
    return folder


def test_vocabulary_spells_every_class_and_any_word():
    words = tokenizer()
    assert words.convert_ids_to_tokens(
        words("mushroom", add_special_tokens=False)["input_ids"]
    ) == [
        "mush",
        "##room",
    ]
    for text in [*CLASSES, "zebra", "x-ray 42"]:
        assert words.unk_token_id not in words(text)["input_ids"]
    assert vocabulary()[-1] == "[ENC]"
    assert words.unk_token_id in words("日本")["input_ids"]


def test_mentions_find_whole_names_only():
    found = [name for _, _, name in mentions("a street light on a road near a cart and a cat")]
    assert found == ["street light", "road", "cat"]
    assert colour_mentions("a red car, red grass") == [
        (2, 5, "red", "car"),
        (11, 14, "red", "grass"),
    ]


def test_a_swap_changes_one_name_and_is_false():
    rng = np.random.default_rng(0)
    present = named(CAPTIONS)
    assert present == {
        "car",
        "street light",
        "grass",
        "fire hydrant",
        "cat",
        "brick wall",
        "mushroom",
    }
    for _ in range(200):
        text, new = swap(CAPTIONS[0], present, rng)
        assert text != CAPTIONS[0]
        if new is None:
            assert colour_mentions(text)[0][2] != "red"
        else:
            assert new not in present
            before, after = mentions(CAPTIONS[0]), mentions(text)
            assert len(before) == len(after)
            assert sum(a[2] != b[2] for a, b in zip(before, after, strict=True)) == 1
    assert swap("hello", present, rng) == ("hello", None)


def test_name_lists_say_what_is_wrong():
    rng = np.random.default_rng(0)
    present = named(CAPTIONS)
    lengths = set()
    for false in (True, False) * 100:
        text, wrong = name_list(present, false, rng)
        names = [name for _, _, name in mentions(text)]
        assert len(names) == len(set(names))
        assert wrong == set(names) - present
        assert bool(wrong) == false
        lengths.add((false, len(names)))
    assert {n for false, n in lengths if false} == set(range(1, 8))
    assert {n for false, n in lengths if not false} == set(range(1, 8))


def test_bags_hold_the_words_of_the_captions():
    words = {BAG[i] for i in bag_of_words(CAPTIONS).nonzero()[0]}
    assert words == named(CAPTIONS) | {"red"}
    assert bag_of_words(["hello"]).sum() == 0


@pytest.mark.parametrize("list_share", [0.0, 0.6])
def test_packs_mark_words_matches_and_masks(list_share):
    packer = Packer(tokenizer(), 48)
    rng = np.random.default_rng(1)
    pack = packer.pack([CAPTIONS] * 40, rng, 3, list_share=list_share)
    assert pack.ids.shape == pack.word.shape == pack.masked.shape
    assert pack.match.shape == pack.starts.shape == (40, 3)
    assert 0.3 < pack.match.mean() < 0.7
    assert np.all(np.take_along_axis(pack.ids, pack.starts, 1) == packer.enc)
    assert np.all(np.take_along_axis(pack.positions, pack.starts, 1) == 0)
    assert pack.positions.max() < 48
    assert pack.positions.max() > 30, "late positions are trained too"
    caption_is_true = np.take_along_axis(pack.match, np.maximum(pack.caption, 0), 1)
    # A swapped-in word stands in a false caption; a word to recover, in a true one.
    assert np.all(caption_is_true[pack.word == 0] == 0)
    assert np.all(caption_is_true[pack.masked != IGNORE] == 1)
    # The mask itself must not tell: it falls on false captions as often.
    masked = pack.ids == packer.mask
    real = pack.caption >= 0
    share = [masked[real & (caption_is_true == k)].mean() for k in (0, 1)]
    assert abs(share[0] - share[1]) < 0.03
    assert not np.any(masked & (pack.word != IGNORE))


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


def test_cache_holds_pictures_and_captions_only(cache):
    for path in cache.glob("*.npz"):
        with np.load(path) as shard:
            assert sorted(shard.files) == ["captions", "pictures"]
            assert shard["pictures"].shape == (24, 128, 128, 3)
            assert all(isinstance(c, str) for cs in json.loads(str(shard["captions"])) for c in cs)


TRAIN_BLIND = """
import sys
class Blind:
    def find_spec(self, name, path=None, target=None):
        if name in ("ovsslib.diorama.scene", "ovsslib.diorama.make", "ovsslib.diorama.captions"):
            raise ImportError("masks are drawn there: " + name)
        if name.startswith("ovsslib.datasets"):
            raise ImportError("masks are read there: " + name)
sys.meta_path.insert(0, Blind())
from pathlib import Path
from ovsslib.training.loop import Schedule
from ovsslib.training.recipes import Recipe, train_micro_blip
from ovsslib.training.micro_blip import BlipSize
size = BlipSize(side=32, patch=8, width=32, heads=2, image_layers=1, text_layers=2, positions=48)
schedule = Schedule(steps=int(sys.argv[3]), batch=8, save_every=3)
recipe, cache, run = Recipe(24, 24, 2), Path(sys.argv[1]), Path(sys.argv[2])
for r in train_micro_blip(schedule, recipe, cache, run, 50, size):
    print(r["step"], flush=True)
"""


def blind(cache: Path, folder: Path, steps: int = 30) -> list[str]:
    return [sys.executable, "-c", TRAIN_BLIND, str(cache), str(folder), str(steps)]


@pytest.mark.slow
def test_training_sees_no_mask_and_survives_kill_9(cache, tmp_path):
    """It runs where nothing that draws or reads masks can be imported; killed, it ends alike."""
    subprocess.run(blind(cache, tmp_path / "calm"), check=True, cwd=ROOT, capture_output=True)
    kills = 0
    dice = random.Random(3)
    for _ in range(12):
        process = subprocess.Popen(
            blind(cache, tmp_path / "hit"), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        stop_at = dice.randint(4, 9)
        for done, _line in enumerate(process.stdout, start=1):
            if done == stop_at and kills < 3:
                time.sleep(dice.random() * 0.02)
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
        if process.wait() == 0:
            break
    assert kills >= 2
    states = [
        torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("calm", "hit")
    ]
    assert states[0]["step"] == states[1]["step"] == 30
    for key, value in states[0]["module"].items():
        assert torch.equal(value, states[1]["module"][key]), key
    curves = [
        [
            json.loads(line)["match"]
            for line in (tmp_path / n / "curve.jsonl").read_text().splitlines()
        ]
        for n in ("calm", "hit")
    ]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 30


def test_a_run_of_another_recipe_is_refused(cache, tmp_path):
    first = train_micro_blip(
        Schedule(steps=1, batch=4), Recipe(24, 24, 1), cache, tmp_path, 9, TINY
    )
    list(first)
    other = train_micro_blip(
        Schedule(steps=2, batch=4), Recipe(24, 24, 1), cache, tmp_path, 9, TINY
    )
    with pytest.raises(OvssError, match="another recipe"):
        list(other)
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(OvssError, match=r"cannot resume from state\.pt"):
        list(
            train_micro_blip(
                Schedule(steps=1, batch=4), Recipe(24, 24, 1), cache, tmp_path, 9, TINY
            )
        )


def test_learning_lowers_the_loss_and_the_card_tells(cache, tmp_path):
    schedule = Schedule(steps=25, batch=12, rate=3e-3)
    records = list(train_micro_blip(schedule, Recipe(24, 24, 2), cache, tmp_path, 25, TINY))
    first, last = (np.mean([r["masked"] for r in part]) for part in (records[:5], records[-5:]))
    assert last < first - 0.3
    assert 0 <= records[-1]["pairs_ranked"] <= 1
    out = finish(tmp_path, tmp_path / "shipped", "micro-blip", "2026-01-01")
    card = (out / "README.md").read_text()
    training = json.loads((out / "training.json").read_text())
    assert f"| match accuracy | {records[-1]['match_accuracy']} |" in card
    assert "captions alone" in card
    assert training["heldout"][-1]["step"] == 25
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in out.iterdir()}
    with pytest.raises(OvssError, match="holds no trained model"):
        finish(tmp_path / "none", None, "micro-blip", "2026-01-01")


def test_divergence_is_an_error(tmp_path):
    module = torch.nn.Linear(1, 1)
    losses = run(
        module,
        lambda step, rng: {"loss": module(torch.tensor([[float("nan")]])).sum()},
        {"loss": 1.0},
        Schedule(steps=1),
        tmp_path,
        {},
    )
    with pytest.raises(OvssError, match="lower the learning rate"):
        next(losses)


def test_damaged_and_missing_shards_are_named(cache, tmp_path):
    with pytest.raises(OvssError, match="cannot read train-s0-128px-000000-000099"):
        data.load(cache, "train", 99, 32)
    with pytest.raises(OvssError, match="side 500"):
        data.load(cache, "train", 24, 500)
    assert data.load(cache, "train", 24, 32).pictures.shape == (24, 32, 32, 3)


def test_every_epoch_is_a_permutation():
    schedule = Schedule(batch=5, seed=1)
    epochs = [
        np.concatenate([batch_indices(schedule, e * 4 + s, 20) for s in range(4)]) for e in (0, 1)
    ]
    assert all(sorted(e) == list(range(20)) for e in epochs)
    assert not np.array_equal(*epochs)
    assert schedule.rate_at(0) < schedule.rate_at(299) == pytest.approx(schedule.rate)
    assert schedule.rate_at(2999) < 1e-6


def test_figures_of_perfect_blind_and_inverted_scorers():
    rng = np.random.default_rng(0)
    captions = [[f"a {c}", f"a red {c}"] for c in CLASSES]
    _, texts, truth = hard_negatives(captions)
    known = dict(zip(texts, truth, strict=True))

    def perfect(numbers, texts):
        return np.array(
            [1.0 if CLASSES[n] in named([t]) else -1.0 for n, t in zip(numbers, texts, strict=True)]
        )

    assert len(known) >= 30
    assert match_accuracy(perfect, captions) == {"match_accuracy": 1.0, "pairs_ranked": 1.0}
    assert retrieval_at_1(perfect, captions) == {"picture_at_1": 1.0, "caption_at_1": 1.0}
    inverted = match_accuracy(lambda n, t: -perfect(n, t), captions)
    assert inverted == {"match_accuracy": 0.0, "pairs_ranked": 0.0}
    blind = match_accuracy(lambda n, t: rng.normal(size=len(t)), captions * 20)
    assert abs(blind["match_accuracy"] - 0.5) < 0.1


def test_curves_are_thinned_to_means():
    records = [{"step": i + 1, "seconds": 1.0, "rate": 0.1, "match": float(i)} for i in range(10)]
    assert thin_curve(records, 5)[0] == {"step": 2, "match": 0.5}


def test_micro_clip_trains_and_loads_through_open_clip(cache, tmp_path):
    import open_clip

    from ovsslib.training.micro_clip import ClipSize, Words, train_micro_clip

    size = ClipSize(side=32, width=32, image_layers=1, text_layers=1)
    records = list(
        train_micro_clip(Schedule(steps=2, batch=8), Recipe(24, 24), cache, tmp_path, 2, size)
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


@pytest.mark.slow
def test_shipped_micro_blip_reads_pictures(tmp_path):
    """On held-out scenes drawn here it does what its card says, within sampling error."""
    from transformers import BlipForImageTextRetrieval

    folder = ROOT / "data" / "checkpoints" / "micro-blip"
    training = json.loads((folder / "training.json").read_text())
    size = BlipSize(**training["recipe"]["size"])
    trainer = MicroBlipTrainer(size)
    trainer.model = BlipForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32)
    list(data.prepare(tmp_path, "heldout", 150, workers=1))
    held = data.load(tmp_path, "heldout", 150, size.side)
    figures = evaluate_blip(trainer, held, Packer(tokenizer(), size.positions))
    for name in ("match_accuracy", "pairs_ranked"):
        assert figures[name] > 0.7, "chance is 0.5"
        assert figures[name] == pytest.approx(training["heldout"][-1][name], abs=0.08)
    assert sum(p.stat().st_size for p in folder.iterdir()) < 12e6


@pytest.mark.slow
def test_shipped_micro_clip_ranks_captions(tmp_path):
    """Loaded through open_clip's own API it does what its card says, within sampling error."""
    import open_clip

    from ovsslib.training.micro_clip import Words, evaluate_clip

    folder = ROOT / "data" / "checkpoints" / "micro-clip"
    training = json.loads((folder / "training.json").read_text())
    model = open_clip.create_model(f"local-dir:{folder}").float()
    list(data.prepare(tmp_path, "heldout", 150, workers=1))
    held = data.load(tmp_path, "heldout", 150, training["recipe"]["size"]["side"])
    figures = evaluate_clip(model, held, Words())
    assert figures["pairs_ranked"] > 0.7, "chance is 0.5"
    assert figures["pairs_ranked"] == pytest.approx(
        training["heldout"][-1]["pairs_ranked"], abs=0.08
    )
    assert sum(p.stat().st_size for p in folder.iterdir()) < 12e6
