"""The training loop: schedules, resuming after kill -9, no mask anywhere, faults, cards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.miniature.training.blip import BlipSize, MicroBlipTrainer
from ovsslib.miniature.training.card import finish, thin_curve
from ovsslib.miniature.training.loop import Schedule, batch_indices, run
from ovsslib.miniature.training.recipe import Recipe, train_micro_blip
from support.helpers import ROOT
from support.no_masks import without_masks

TINY = BlipSize(side=32, patch=8, width=32, heads=2, image_layers=1, text_layers=2, positions=48)


TRAIN_BLIND = """
from pathlib import Path
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe, train_micro_blip
from ovsslib.miniature.training.blip import BlipSize, MicroBlipTrainer
size = BlipSize(side=32, patch=8, width=32, heads=2, image_layers=1, text_layers=2, positions=48)
schedule = Schedule(steps=int(sys.argv[3]), batch=8, save_every=3)
recipe, cache, run = Recipe(24, 24, 2), Path(sys.argv[1]), Path(sys.argv[2])
for r in train_micro_blip(schedule, recipe, cache, run, 50, size):
    print(r["step"], flush=True)
"""


def blind(drawn: Path, folder: Path, steps: int = 30) -> list[str]:
    return without_masks(TRAIN_BLIND, drawn, folder, steps)


@pytest.mark.slow
def test_training_sees_no_mask_and_survives_kill_9(drawn, tmp_path):
    """It runs where nothing that draws or reads masks can be imported; killed, it ends alike."""
    subprocess.run(blind(drawn, tmp_path / "calm"), check=True, cwd=ROOT, capture_output=True)
    kills = 0
    dice = random.Random(3)
    for _ in range(12):
        process = subprocess.Popen(
            blind(drawn, tmp_path / "hit"), cwd=ROOT, stdout=subprocess.PIPE, text=True
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


def test_a_run_of_another_recipe_is_refused(drawn, tmp_path):
    first = train_micro_blip(
        Schedule(steps=1, batch=4), Recipe(24, 24, 1), drawn, tmp_path, 9, TINY
    )
    list(first)
    other = train_micro_blip(
        Schedule(steps=2, batch=4), Recipe(24, 24, 1), drawn, tmp_path, 9, TINY
    )
    with pytest.raises(OvssError, match="another recipe"):
        list(other)
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(OvssError, match=r"cannot resume from state\.pt"):
        list(
            train_micro_blip(
                Schedule(steps=1, batch=4), Recipe(24, 24, 1), drawn, tmp_path, 9, TINY
            )
        )


def test_learning_lowers_the_loss_and_the_card_tells(drawn, tmp_path):
    schedule = Schedule(steps=25, batch=12, rate=3e-3)
    records = list(train_micro_blip(schedule, Recipe(24, 24, 2), drawn, tmp_path, 25, TINY))
    first, last = (np.mean([r["masked"] for r in part]) for part in (records[:5], records[-5:]))
    assert last < first - 0.3
    assert 0 <= records[-1]["pairs_ranked"] <= 1
    out = finish(tmp_path, tmp_path / "shipped", "micro-blip", "2026-01-01")
    card = (out / "README.md").read_text()
    training = json.loads((out / "training.json").read_text())
    assert f"| match accuracy | {records[-1]['match_accuracy']} |" in card
    assert "captions alone" in card
    assert "GFLOP" not in card, "nobody measured a step"
    assert training["heldout"][-1]["step"] == 25
    cost = {"flops": 12.3e9, "share": 0.456}
    out = finish(tmp_path, tmp_path / "shipped", "micro-blip", "2026-01-01", cost)
    assert "A step is 12 GFLOP, done at 46 % of the rate" in (out / "README.md").read_text()
    assert json.loads((out / "training.json").read_text())["step"] == cost
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


def test_bfloat16_is_for_products_only(drawn, tmp_path):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        schedule = Schedule(steps=2, batch=4, dtype=dtype)
        run_folder = tmp_path / dtype
        list(train_micro_blip(schedule, Recipe(24, 24, 2), drawn, run_folder, 50, TINY))
        state = torch.load(run_folder / "state.pt", weights_only=True)["module"]
        assert {value.dtype for value in state.values() if value.is_floating_point()} == {
            torch.float32
        }
        first = json.loads((run_folder / "curve.jsonl").read_text().splitlines()[0])
        losses[dtype] = [first[name] for name in ("match", "masked", "word", "bag")]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"], "nothing was rounded"
    with pytest.raises(OvssError, match="unknown value of dtype 'float61'"):
        Schedule(dtype="float61")


def test_every_epoch_is_a_permutation():
    schedule = Schedule(batch=5, seed=1)
    epochs = [
        np.concatenate([batch_indices(schedule, e * 4 + s, 20) for s in range(4)]) for e in (0, 1)
    ]
    assert all(sorted(e) == list(range(20)) for e in epochs)
    assert not np.array_equal(*epochs)
    assert schedule.share_at(0) < schedule.share_at(299) == 1
    assert schedule.share_at(2999) < 1e-6


def test_curves_are_thinned_to_means():
    records = [{"step": i + 1, "seconds": 1.0, "rate": 0.1, "match": float(i)} for i in range(10)]
    assert thin_curve(records, 5)[0] == {"step": 2, "match": 0.5}


def test_cards_name_the_optimiser(drawn, tmp_path):
    for rate, words in ((0.0, "(AdamW, one cycle)"), (0.02, "(Muon and AdamW, one cycle)")):
        folder = tmp_path / str(rate)
        schedule = Schedule(steps=1, batch=4, matrix_rate=rate)
        list(train_micro_blip(schedule, Recipe(24, 24, 1), drawn, folder, 1, TINY))
        card = (finish(folder, None, "micro-blip", "2026-01-01") / "README.md").read_text()
        assert words in card
        assert f"--matrix-rate {rate} " in card
        assert (folder / "snapshots" / "000001" / "config.json").is_file()


def test_the_last_steps_see_whole_pictures(drawn, tmp_path, monkeypatch):
    tokens = []
    read = MicroBlipTrainer.read

    def spy(self, image, *rest):
        tokens.append(image.shape[1])
        return read(self, image, *rest)

    monkeypatch.setattr(MicroBlipTrainer, "read", spy)
    recipe = Recipe(24, 24, 1, whole_share=0.5)
    steps = train_micro_blip(Schedule(steps=4, batch=4), recipe, drawn, tmp_path, 9, TINY)
    for _ in range(3):
        next(steps)
    assert max(tokens[:2]) < tokens[2] == 17
