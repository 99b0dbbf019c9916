"""The matcher's own score as a filter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.evaluate import run as benchmark
from ovsslib.evaluate.spec import RunSpec
from ovsslib.filters import get_filter
from ovsslib.filters.thresholded import TUNED, best_threshold, score_all
from ovsslib.filters.vlm import Vlm
from ovsslib.pnp.config import PnPConfig
from ovsslib.vlm import load_vlm
from support.helpers import tiny_blip, write_voc

__all__ = ["tiny_blip"]


def test_scores_are_the_match_of_each_class_alone(tmp_path: Path, tiny_blip: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path, 2))
    matcher = load_vlm(tiny_blip)
    class_filter = Vlm(model=str(tiny_blip), batch=7)
    for name in data.ids:
        scores = class_filter.scores(data, name)
        tokens = matcher.encode_images(matcher.preprocess([data.image(name)]))
        for k, words in enumerate(data.classes):
            alone = matcher.match(tokens, [matcher.tokenize(f"A picture of {words}")], 1)
            assert scores[k] == pytest.approx(float(alone.probability[0]), abs=1e-5)


def test_the_image_is_encoded_once(
    tmp_path: Path, tiny_blip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_dataset("diorama", write_voc(tmp_path, 1))
    class_filter = Vlm(model=str(tiny_blip), batch=4)
    calls = []
    encode = type(class_filter.matcher).encode_images
    monkeypatch.setattr(
        type(class_filter.matcher), "encode_images", lambda *a: calls.append(1) or encode(*a)
    )
    class_filter.scores(data, "img_0000")
    assert len(calls) == 1


def test_a_run_shares_its_model_and_names_the_filter(tmp_path: Path, tiny_blip: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path, 2))
    matcher = load_vlm(tiny_blip)
    config = PnPConfig(layer=1, head=1, rounds=1, image_size=96, crf=False)
    work = benchmark.make_task(data, filter="vlm", filter_settings={"threshold": 0.0})
    result = benchmark.run_configs(matcher, {"run": config}, work)["run"]
    assert work.class_filter.matcher is matcher
    assert result.filter == "vlm"
    assert result.filter_settings == {
        "model": matcher.name, "prompt": "A picture of", "threshold": 0.0, "most": 25,
    }  # fmt: skip
    other = get_filter("vlm:micro-blip")
    other.use(matcher)
    assert other._matcher is None
    assert str(tiny_blip.parent) not in str(work.class_filter.described)


def test_runs_with_other_settings_do_not_share_images() -> None:
    a, b = (RunSpec(filter="vlm", filter_settings={"threshold": t}) for t in (0.4, 0.5))
    assert a.shared != b.shared


def test_the_threshold_is_the_best_on_tune() -> None:
    data = load_dataset("diorama", split="tune")
    scores, truth = score_all(Vlm(), data, data.ids[:40])
    best = best_threshold(scores, truth)[1]
    kept = scores > TUNED["micro-blip"]
    f1 = 2 * (kept & truth).sum() / (kept.sum() + truth.sum())
    assert f1 > best - 0.015
    assert best > 0.9
    assert np.all((scores >= 0) & (scores <= 1))
