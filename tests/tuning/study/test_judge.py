"""A study: rewards are the search's, counts those of enlarged masks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.protocols.protocol import get_protocol
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.reward import RewardOptions
from ovsslib.tuning.search import Plan, Space
from ovsslib.tuning.study.file import Study, load_study, save_study
from ovsslib.tuning.study.judge import confusions, study
from ovsslib.tuning.tune import Tuning, tune

SPEC = RunSpec(vlm="micro-bridgetower", split="tune", limit=2, filter="captions")
TUNING = Tuning(SPEC, Plan("grid"), mean_head=True, thresholds=(0.05, 0.25), blurs=(0.03,))
CPU = Execution(batch=2, device="cpu")
SMALL = Space((1, 2), (None, 1), (0.05, 0.25), (0.03,))


@pytest.fixture(scope="module", autouse=True)
def small():
    """A grid of eight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Space, "of", classmethod(lambda *_, **__: SMALL))
        yield


@pytest.fixture(scope="module")
def found(small: None) -> Study:
    return study(TUNING, CPU, ablate=["scope", "contrast"])


def test_rewards_are_those_of_the_search(found: Study) -> None:
    trials = tune(TUNING, CPU).search.trials
    words = ("paper", "contrast=mean", "scope=image", "scope=image, contrast=mean")
    assert found.variants == words
    assert [trial.candidate for trial in trials] == SMALL.grid() == found.candidates[:-1]
    shares = found.rewards[0, :-1].sum(1) / found.pairs.sum()
    np.testing.assert_allclose(shares, [trial.value for trial in trials], atol=1e-6)
    assert found.preset == Candidate(2, None, 0.15, 0.01)
    assert found.rewards.shape == (4, 9, 2)


def test_every_pixel_is_counted_once(found: Study) -> None:
    from ovsslib.datasets import load_dataset

    data = load_dataset("diorama", split="tune")
    for number, name in enumerate(found.images):
        label = data.label(name)
        scored = label[label != 255]
        want = np.bincount(scored, minlength=21)
        np.testing.assert_array_equal(found.truth[number], want)
        assert (found.predicted[:, number].sum(1) == scored.size).all()
    assert (found.intersection <= np.minimum(found.predicted, found.truth)).all()
    assert found.intersection[:, :, 1:].any()
    assert found.scored == tuple(range(1, 21))


@pytest.mark.parametrize("shape", [(13, 22), (9, 9), (5, 4)])
def test_confusions_are_those_of_enlarged_masks(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    # An odd side: no centre lies between two pixels.
    seen = rng.integers(-1, 3, (4, 9, 9))
    planes = torch.from_numpy(np.stack([seen == k for k in range(3)], 1).astype(np.float32))
    label = rng.choice([0, 1, 2, 5, 255], shape).astype(np.uint8)
    rules = get_protocol("pnp-fixed").resolved("diorama")
    got = confusions(planes, [2, 5, 2], label, rules, 6)
    for one, matrix in zip(seen, got, strict=True):
        large = Image.fromarray(one.astype(np.int32)).resize(shape[::-1], Image.Resampling.NEAREST)
        want = rules.tally(np.asarray(large), [2, 5, 2], label, 6).confusion
        np.testing.assert_array_equal(matrix, want)


def test_variants_are_those_rewards_alone(found: Study) -> None:
    for row, variant in ((1, {"contrast": "mean"}), (2, {"scope": "image"})):
        options = RewardOptions.from_dict(variant)
        alone = study(dataclasses.replace(TUNING, reward=options), CPU)
        assert alone.variants == (found.variants[row],)
        np.testing.assert_array_equal(alone.rewards[0], found.rewards[row])


def test_without_rewards_pixels_are_counted_alone(found: Study, tmp_path: Path) -> None:
    plain = study(TUNING, CPU, rewarded=False)
    assert plain.variants == ()
    assert plain.rewards.shape == (0, 9, 2)
    np.testing.assert_array_equal(plain.intersection, found.intersection)
    again = load_study(save_study(plain, tmp_path / "s.parquet"))
    assert again.rewards.shape == plain.rewards.shape
    np.testing.assert_array_equal(again.predicted, found.predicted)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(OvssError, match="to ablate"):
        study(TUNING, CPU, ablate=["model"])
    reads = dataclasses.replace(SPEC, filter="oracle")
    with pytest.raises(OvssError, match="reads masks"):
        study(Tuning(reads), CPU)
