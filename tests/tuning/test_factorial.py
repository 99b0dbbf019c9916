"""The factorial: four choices of the reward, and what follows from them, run for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import ovsslib
from ovsslib.cli.main import app
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate import run as benchmark
from ovsslib.evaluate.comparison import load, load_counts
from ovsslib.evaluate.erasure import erasure
from ovsslib.evaluate.gradient import by_certainty, layer_head_gradient
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.evaluate.task import make_task
from ovsslib.pnp.config import PnPConfig
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.factorial import HEADS, SALIENCES, cell, combinations, training_of
from ovsslib.tuning.objective import Objective
from ovsslib.tuning.search import Plan
from ovsslib.tuning.tune import Tuning, tune
from support.helpers import make_tiny_blip, one_error

WORDS = ["--limit", "3", "--tune-limit", "4", "--thresholds", "0.05,0.45", "--blurs", "0.03"]


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_blip(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def stored(vlm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    words = ["factorial", "--vlm", vlm, "--set", "crf=false", *WORDS, "--out", str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "gradcam, one, dropout" in done.stdout
    assert "chosen on tune" in done.stdout
    (path,) = out.glob("*.json")
    return path


def test_all_combinations() -> None:
    chosen = {
        (salience, heads): PnPConfig(layer=i + 1, head=None if heads == "mean" else j + 1).replace(
            salience=salience
        )
        for i, salience in enumerate(SALIENCES)
        for j, heads in enumerate(HEADS)
    }
    configs = combinations(chosen)
    assert len(configs) == 10
    assert next(iter(configs)) == cell("gradcam", "one", dropout=True)
    for name, config in configs.items():
        salience, heads, *dropout = name.split(", ")
        assert config.salience == salience
        assert config.rounds == (4 if dropout else 1)
        base = chosen["gradcam", "one"] if heads == "same" else chosen[salience, heads]
        assert config.replace(salience="gradcam", rounds=4) == base.replace(salience="gradcam")


def test_what_was_looked_at_is_stored(stored: Path, vlm: str) -> None:
    record = load(stored)
    matcher, data = ovsslib.load_vlm(vlm), load_dataset("diorama", split="val")
    one = PnPConfig.from_dict(record["chosen"]["gradcam, one"])
    heads = layer_head_gradient(matcher, data, one, limit=3).to_dict("records")
    assert len(record["heads"]) == matcher.layers * (matcher.heads + 1)
    assert [row["auc_gradcam"] for row in record["heads"]] == pytest.approx(
        [row["auc_gradcam"] for row in heads]
    )
    sure = by_certainty(matcher, data, one, limit=3)
    means = sure[sure["prompt"] == "true"][["probability", "gradcam", "margin"]].mean()
    assert {key: record["certainty"]["true"][key] for key in means.index} == pytest.approx(
        means.to_dict()
    )
    lost = erasure(matcher, data, one, limit=3).groupby("kind").mean(numeric_only=True)
    assert record["erased"].keys() == set(lost.index) == {"thing", "stuff"}
    for kind, logits in record["erased"].items():
        assert logits == pytest.approx(lost.loc[kind].to_dict(), abs=1e-4)


def test_the_choice_is_that_of_a_search_without_masks(stored: Path, vlm: str) -> None:
    record = load(stored)
    spec = RunSpec(
        vlm=vlm, config={"crf": False, "salience": "attention"}, split="tune", filter="captions",
        limit=4,
    )  # fmt: skip
    both = tune(
        Tuning(
            spec, Plan("grid", race=True), mean_head=True, thresholds=(0.05, 0.45), blurs=(0.03,)
        )
    )
    chosen = {key: PnPConfig.from_dict(fields) for key, fields in record["chosen"].items()}
    best = [chosen[f"attention, {heads}"] for heads in HEADS]
    assert best[0].head is not None
    assert best[1].head is None
    keys = ("layer", "head", "threshold", "blur")
    found = {key: getattr(both.config, key) for key in keys}
    assert found in [{key: getattr(config, key) for key in keys} for config in best]
    assert record["tuning"]["split"] == "tune"
    assert record["split"] == "val"


def test_the_figures_are_those_of_single_runs(stored: Path, vlm: str) -> None:
    record = load(stored)
    config = PnPConfig.from_dict(record["chosen"]["gradcam, one"])
    matcher = ovsslib.load_vlm(vlm, "cpu")
    work = make_task(load_dataset("diorama"), limit=3)
    for name, fields in {
        "gradcam, one, dropout": {},
        "attention, same": {"salience": "attention", "rounds": 1},
    }.items():
        alone = benchmark.run(ovsslib.PnPOVSS(matcher, config.replace(**fields)), work, Execution())
        ids, counts = load_counts(stored, name)
        assert ids == alone.ids
        assert (counts.intersection == alone.counts.intersection).all()
    assert len(record["runs"]) == 10


def test_how_a_model_was_trained(vlm: str, stored: Path, tmp_path: Path) -> None:
    assert load(stored)["training"] is None
    training = training_of("micro-blip")
    assert (training["model"], training["seed"]) == ("micro-blip", 0)
    assert training["heldout"]["novel_match_accuracy"] < training["heldout"]["match_accuracy"]
    for text in ("{", "[]", '{"model": "x"}'):
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "training.json").write_text(text)
        with pytest.raises(OvssError, match=r"training\.json: no record of a training"):
            training_of(str(tmp_path))


def test_nothing_is_chosen_on_what_is_reported(vlm: str, tmp_path: Path) -> None:
    words = ["factorial", "--vlm", vlm, "--tune-split", "val", "--out", str(tmp_path)]
    one_error(CliRunner().invoke(app, words), 2, "nothing may be chosen on it")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_choice_goes_on(vlm: str, stored: Path, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "trials.sqlite"
    words = ["factorial", "--vlm", vlm, "--set", "crf=false", *WORDS, "--storage", str(kept)]
    judged = []
    per_image = Objective.per_image

    def counted(self: Objective, candidates: list[Candidate], *images: list[int]) -> np.ndarray:
        judged.append(len(candidates))
        if len(judged) == 3:
            raise KeyboardInterrupt
        return per_image(self, candidates, *images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "per_image", counted)
        assert CliRunner().invoke(app, [*words, "--out", str(out)]).exit_code != 0
        assert len(judged) == 3
        assert CliRunner().invoke(app, [*words, "--out", str(out)]).exit_code == 0
    # Two of the four races were finished, the third is run again, and so the fourth.
    assert len(judged) == 5
    (path,) = out.glob("*.json")
    assert load(path)["chosen"] == load(stored)["chosen"]
    assert load(path)["tuning"]["thresholds"] == [0.05, 0.45]
