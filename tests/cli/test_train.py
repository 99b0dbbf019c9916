"""``ovss train`` and ``ovss localise`` as commands: a model trained, read back and looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from ovsslib.cli.main import app
from support.helpers import one_error

SMALL = "--pictures 24 --heldout 24 --steps 2 --batch 4 --side 32 --width 32 --text-layers 2"


def ovss(*words: object) -> object:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, through the command."""
    run = tmp_path_factory.mktemp("run")
    more = ["--cache", drawn, "--run", run, "--out", run / "shipped", "--every", 1]
    done = ovss("train", "micro-blip", *SMALL.split(), *more)
    assert done.exit_code == 0, done.output
    assert f"micro-blip is in {run / 'shipped'}" in done.stdout
    assert [json.loads(line)["step"] for line in done.stderr.splitlines()] == [1, 2]
    return run


def test_a_finished_run_is_not_done_again(trained: Path, drawn: Path) -> None:
    state = (trained / "state.pt").read_bytes()
    done = ovss("train", "micro-blip", *SMALL.split(), "--cache", drawn, "--run", trained)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert (trained / "state.pt").read_bytes() == state


def test_localise_shows_every_layer_and_head(trained: Path, tmp_path: Path) -> None:
    snapshots = [trained / "snapshots" / name for name in ("000001", "000002")]
    models = [word for folder in snapshots for word in ("--vlm", folder)]
    out = tmp_path / "auc.csv"
    done = ovss("localise", *models, "--limit", 2, "--out", out, "--salience", "attention, margin")
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(out, dtype={"head": str})
    assert set(rows["vlm"]) == {str(folder) for folder in snapshots}
    assert set(rows["salience"]) == {"attention", "margin"}
    assert set(rows["layer"]) == {1, 2}
    assert set(rows["head"]) == {"1", "2", "3", "4", "mean"}
    assert rows["auc"].between(0, 1).all()
    for folder in snapshots:
        assert f"{folder}, attention (2 images)" in done.stdout


def test_the_local_recipe_locks_the_image_encoder(drawn: Path, tmp_path: Path) -> None:
    words = ["train", "micro-blip", "--recipe", "blip-local", "--dtype", "float32", *SMALL.split()]
    done = ovss(*words, "--cache", drawn, "--run", tmp_path, "--every", 1)
    assert done.exit_code == 0, done.output
    first, second = (json.loads(line) for line in (tmp_path / "curve.jsonl").open())
    assert first["match"] == 0 < second["match"], "contrast alone in the first half of the steps"
    before, after = (
        load_file(tmp_path / "snapshots" / step / "model.safetensors")
        for step in ("000001", "000002")
    )
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert {"text_encoder", "itm_head"} <= moved
    assert not moved & {"vision_model", "vision_proj"}
    training = json.loads((tmp_path / "model" / "training.json").read_text())
    assert training["model"] == "micro-blip --recipe blip-local"
    assert training["recipe"]["recipe"]["local"] is True


def test_a_system_is_trained_and_run(drawn: Path, tmp_path: Path) -> None:
    words = "train micro-pacl --pictures 24 --heldout 24 --steps 2 --batch 4 --every 2".split()
    done = ovss(*words, "--cache", drawn, "--run", tmp_path)
    assert done.exit_code == 0, done.output
    card = (tmp_path / "model" / "README.md").read_text()
    assert "PACL's embedder on micro-clip" in card
    assert "Pairs ranked: a true caption scores" in card
    assert "false caption" not in card
    assert "at which the machine multiplies large matrices in bfloat16" in card
    model = ["--method", "pacl", "--vlm", tmp_path / "model", "--limit", 2]
    done = ovss("run", *model, "--out", tmp_path / "results")
    assert done.exit_code == 0, done.output
    assert "pacl with model on diorama val" in done.stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "micro-blip", "--recipe", "blip-locl"], "did you mean"),
        (["train", "micro-blib"], "did you mean 'micro-blip'"),
        (["train", "micro-tcl", "--recipe", "no-are"], "did you mean 'micro-tcl --recipe no-area'"),
        (["train", "micro-tcl", "--width", "64"], "width: leave out what a system on a frozen"),
        (
            ["train", "micro-blip", "--side", "30", *SMALL.split()[:4]],
            "side 30 is not a multiple of 8",
        ),
        (["localise", "--salience", "atention"], "did you mean 'attention'"),
        (["localise", "--out", "/proc/none/auc.csv", "--limit", "1"], "/proc/none"),
        (["localise", "--split", "tunes"], "there are"),
    ],
)
def test_mistakes_are_named(drawn: Path, words: list[str], hint: str) -> None:
    where = ["--cache", str(drawn)] if words[0] == "train" else []
    one_error(ovss(*words, *where), 2, hint)
