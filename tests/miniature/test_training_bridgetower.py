"""micro-bridgetower's training code: words, rows, losses, and the model it saves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ovsslib.cli.main import app
from ovsslib.errors import OvssError
from ovsslib.miniature.diorama.classes import CLASSES
from ovsslib.miniature.training.blip import normalise
from ovsslib.miniature.training.bpe import capitals, known_words, tokenizer
from ovsslib.miniature.training.bridgetower import (
    BridgeTowerSize,
    MicroBridgeTowerTrainer,
    save,
    tensors,
)
from ovsslib.miniature.training.bridgetower_recipe import (
    bridgetower_scores,
    train_micro_bridgetower,
)
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.negatives import IGNORE
from ovsslib.miniature.training.optim import optimisers
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.miniature.training.rows import RowPacker
from ovsslib.miniature.training.wordpiece import BAG
from support.helpers import ROOT
from support.no_masks import without_masks

TINY = BridgeTowerSize(side=32, width=64, heads=2, text_layers=2, cross_layers=2, word_layer=1)
CAPTIONS = [
    "a red car next to a street light",
    "grass fire hydrant",
    "a cat, with a brick wall and a mushroom",
]
QUIET = {"false_share": 0.0, "mask_share": 0.0, "shift_share": 0.0, "capital_share": 0.0}


@pytest.fixture(scope="module")
def packer() -> RowPacker:
    return RowPacker(tokenizer(), TINY.positions)


@pytest.fixture(scope="module")
def trainer() -> MicroBridgeTowerTrainer:
    """Random weights, larger than fresh ones, so that attention is not all but uniform."""
    torch.manual_seed(0)
    trainer = MicroBridgeTowerTrainer(TINY).eval()
    with torch.no_grad():
        for weight in trainer.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return trainer


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)


# ------------------------------------------------------------------------------------------ words


def test_words_are_one_token_in_every_form_and_any_text_comes_back() -> None:
    words = tokenizer()
    for word in known_words():
        for text in (word, word.capitalize()):
            assert words.convert_ids_to_tokens(words(text)["input_ids"])[1:-1] == [text]
        behind = words(f"of {word}, x")["input_ids"]
        assert words.convert_ids_to_tokens(behind[2]) == "\u0120" + word
    for text in [*CLASSES, *CAPTIONS, "Zebra x-ray 42", "日本 café  🚗", "<A>"]:
        ids = words(text)["input_ids"]
        assert words.unk_token_id not in ids
        assert words.decode(ids, skip_special_tokens=True) == text
    assert words("mushroom")["input_ids"][1:-1] == words.convert_tokens_to_ids(["mush", "room"])
    assert (words.bos_token_id, words.pad_token_id, words.eos_token_id) == (0, 1, 2)
    assert words.mask_token_id == len(words) - 1 < 1000
    again = subprocess.run(
        [sys.executable, "-c", "import ovsslib.miniature.training.bpe as b; print(b.merges())"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    from ovsslib.miniature.training.bpe import merges

    assert again.stdout.strip() == str(merges()), "the same in every process"


def test_offsets_cover_names_of_several_words_and_pieces(packer: RowPacker) -> None:
    text = "a picture of fire hydrant grass"
    ids, offsets = packer.tokens(text)
    spelt = [text[start:stop] for start, stop in offsets]
    assert spelt == ["a", "picture", "of", "fire", "hy", "drant", "grass"]
    assert len(ids) == len(offsets)


# ------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("list_share", [0.0, 0.6])
def test_rows_mark_words_matches_and_masks(packer: RowPacker, list_share: float) -> None:
    rng = np.random.default_rng(1)
    rows = packer.rows([CAPTIONS] * 40, rng, 3, list_share=list_share)
    assert rows.ids.shape == rows.places.shape == rows.word.shape == rows.masked.shape
    assert rows.match.shape == (120,)
    assert 0.3 < rows.match.mean() < 0.7
    assert np.all(rows.ids[:, 0] == packer.enc)
    assert np.all((rows.ids == packer.sep).sum(1) == 1)
    padding = rows.ids == packer.pad
    assert np.all(rows.places[padding] == packer.pad)
    assert np.all(rows.places[:, 0] == packer.pad + 1)
    assert rows.places.max() < TINY.positions + packer.pad + 1
    assert rows.places.max() > 80, "late positions are trained too"
    assert np.all(rows.word[padding] == IGNORE)
    true = rows.match[:, None] == 1
    assert not np.any((rows.word == 0) & true), "a swapped-in word stands in a false caption"
    assert not np.any((rows.masked != IGNORE) & ~true), "a word to recover, in a true one"
    masked = rows.ids == packer.mask
    share = [(masked & (true == k)).sum() / (~padding & (true == k)).sum() for k in (False, True)]
    assert abs(share[0] - share[1]) < 0.04, "the mask must not tell"
    assert not np.any(masked & (rows.word != IGNORE))
    large = np.isin(rows.ids[:, 1], list(capitals().values()))
    assert 0.3 < large.mean() < 0.7


def test_rows_are_what_the_tokenizer_gives(packer: RowPacker) -> None:
    rows = packer.rows([[text] for text in CAPTIONS], np.random.default_rng(0), 1, **QUIET)
    expected = tokenizer()(CAPTIONS, padding=True, return_tensors="np")["input_ids"]
    assert np.array_equal(rows.ids, expected)
    named = [[text for text in row if text != IGNORE] for row in rows.word]
    assert [len(row) for row in named] == [3, 4, 5], "one label for every piece of a name"
    large = packer.rows([["a cat"]], np.random.default_rng(0), 1, **{**QUIET, "capital_share": 1.0})
    assert np.array_equal(large.ids[0], tokenizer()("A cat")["input_ids"])


# ----------------------------------------------------------------------------------------- losses


def test_captions_of_one_picture_do_not_disturb_each_other(
    trainer: MicroBridgeTowerTrainer, packer: RowPacker
) -> None:
    pixels = normalise(pictures(2))
    orders = [CAPTIONS, CAPTIONS[::-1]]
    rng = np.random.default_rng(0)
    with torch.no_grad():
        image, _ = trainer.encode(pixels)
        singles = [
            trainer.read(
                [states[b : b + 1] for states in image],
                tensors(packer.rows([[text]], rng, 1, **QUIET)),
            )[1]
            for b, texts in enumerate(orders)
            for text in texts
        ]
        rows = tensors(packer.rows([[t] for texts in orders for t in texts], rng, 1, **QUIET))
        _, together = trainer.read(image, rows)  # three rows for each of two images
    assert torch.allclose(together, torch.cat(singles), atol=1e-5)
    assert together.std() > 0.01


def test_hidden_class_tokens_and_left_out_patches(
    trainer: MicroBridgeTowerTrainer, packer: RowPacker
) -> None:
    pixels = normalise(pictures(2))
    rows = tensors(packer.rows([CAPTIONS] * 2, np.random.default_rng(0), 1, **QUIET))
    with torch.no_grad():
        image, tokens = trainer.encode(pixels)
        assert [len(states[0]) for states in image] == [17, 17]
        assert tokens.shape == (2, 17, 64)
        lengths = {trainer.encode(pixels, np.random.default_rng(s))[1].shape[1] for s in range(12)}
        assert len(lengths) > 1
        assert max(lengths) <= 14
        seen, _ = trainer.read(image, rows)
        hidden, _ = trainer.read(image, rows, torch.tensor([True, False]))
        assert not torch.allclose(seen[0][0], hidden[0][0], atol=1e-4)
        assert torch.allclose(seen[0][1], hidden[0][1], atol=1e-6)


def test_every_weight_learns_and_matrices_of_blocks_go_to_muon(packer: RowPacker) -> None:
    trainer = MicroBridgeTowerTrainer(TINY)
    rng = np.random.default_rng(0)
    rows = tensors(packer.rows([CAPTIONS] * 4, rng, 2))
    losses = trainer(normalise(pictures(4)), rows, torch.zeros(4, len(BAG)), rng)
    sum(losses[name] for name in ("match", "masked", "word", "bag")).backward()
    still = {name for name, p in trainer.named_parameters() if p.grad is None}
    # A key's bias adds the same to all scores of a row: the softmax cannot see it.
    assert all(name.endswith("self.key.bias") for name in still)
    _, muon = optimisers(trainer, 1e-3, 0.008, 0.05)
    names = {id(p): name for name, p in trainer.named_parameters()}
    taken = [names[id(p)] for p in muon.param_groups[0]["params"]]
    for part in ("cross_modal_text_layers.1", "resblocks.0.attn.in_proj", "text_model.encoder"):
        assert any(part in name for name in taken), part
    assert not any("embedding" in name or "pooler" in name or "head" in name for name in taken)


def test_sizes_that_do_not_fit_are_errors() -> None:
    with pytest.raises(OvssError, match="multiple of 64"):
        BridgeTowerSize(width=32)
    with pytest.raises(OvssError, match="as many text layers"):
        BridgeTowerSize(text_layers=2)


# ----------------------------------------------------------------------------------- saved models


def test_saved_model_gives_the_trainers_scores_here_and_in_transformers(
    trainer: MicroBridgeTowerTrainer, packer: RowPacker, tmp_path: Path
) -> None:
    from transformers import BridgeTowerForImageAndTextRetrieval, BridgeTowerProcessor

    from ovsslib.vlm import load_vlm

    save(trainer, tmp_path / "m")
    trainer.net.half().float()  # the file holds rounded weights
    pixels = pictures(3)
    scores = bridgetower_scores(trainer, pixels, packer, batch=2)([0, 1, 2], CAPTIONS)
    assert scores.std() > 0.01
    matcher = load_vlm(str(tmp_path / "m"))
    shown = [Image.fromarray(picture) for picture in pixels]
    tokens = matcher.encode_images(matcher.preprocess(shown))
    logits = matcher.match(tokens, [matcher.tokenize(text) for text in CAPTIONS], 1).logits
    assert np.allclose(scores, logits[:, 1] - logits[:, 0], atol=1e-4)
    theirs = BridgeTowerForImageAndTextRetrieval.from_pretrained(
        tmp_path / "m", dtype=torch.float32
    ).eval()
    processor = BridgeTowerProcessor.from_pretrained(tmp_path / "m")
    inputs = processor(images=shown, text=CAPTIONS, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = theirs(**inputs).logits
    assert np.allclose(scores, logits[:, 1] - logits[:, 0], atol=1e-3)


def test_learning_lowers_the_losses(drawn: Path, tmp_path: Path) -> None:
    schedule = Schedule(steps=25, batch=12, rate=3e-3)
    records = list(train_micro_bridgetower(schedule, Recipe(24, 24, 2), drawn, tmp_path, 25, TINY))
    for name, drop in (("masked", 0.3), ("bag", 0.05)):
        first, last = (np.mean([r[name] for r in part]) for part in (records[:5], records[-5:]))
        assert last < first - drop, name
    assert 0 <= records[-1]["pairs_ranked"] <= 1
    assert (tmp_path / "snapshots" / "000025" / "config.json").is_file()


BLIND = """
from pathlib import Path
from ovsslib.miniature.training.bridgetower_recipe import train_micro_bridgetower
from ovsslib.miniature.training.bridgetower import BridgeTowerSize
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
size = BridgeTowerSize(side=32, width=64, heads=2, text_layers=2, cross_layers=2, word_layer=1)
recipe, cache, run = Recipe(24, 24, 2), Path(sys.argv[1]), Path(sys.argv[2])
for r in train_micro_bridgetower(Schedule(steps=2, batch=4), recipe, cache, run, 1, size):
    print(r["step"], r["match"])
"""


@pytest.mark.slow
def test_training_sees_no_mask(drawn: Path, tmp_path: Path) -> None:
    """It runs where nothing that draws or reads masks can be imported, and repeats exactly."""
    said = [
        subprocess.run(
            without_masks(BLIND, drawn, tmp_path / name),
            check=True,
            cwd=ROOT,
            capture_output=True,
            text=True,
        ).stdout
        for name in ("a", "b")
    ]
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == 2
    first, second = (tmp_path / n / "model" / "model.safetensors" for n in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_the_command_trains_it(drawn: Path, tmp_path: Path) -> None:
    words = "train micro-bridgetower --pictures 24 --heldout 24 --steps 1 --batch 4 --side 32"
    more = ["--width", "64", "--cache", str(drawn), "--run", str(tmp_path)]
    done = CliRunner().invoke(app, [*words.split(), *more])
    assert done.exit_code == 0, done.output
    assert f"micro-bridgetower is in {tmp_path / 'model'}" in done.stdout
    card = (tmp_path / "model" / "README.md").read_text()
    assert "BridgeTower for image-text retrieval" in card
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["model_type"] == "bridgetower"
    narrow = CliRunner().invoke(app, [*words.split(), "--width", "32", *more[2:]])
    assert narrow.exit_code == 2
    assert "multiple of 64" in narrow.stderr
