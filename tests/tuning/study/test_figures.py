"""Figures of a study, on one made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.metrics.iou import Counts, mean_iou
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.search import Space
from ovsslib.tuning.study import figures
from ovsslib.tuning.study.judge import Study

SPACE = Space((1, 2), (None, 1, 2), (0.05, 0.25), (0.03, 0.05))
PICTURES = 12


def made(rewards: np.ndarray | None = None, absent: str = "count") -> Study:
    """12 images, 24 candidates and the preset's; candidate c is right on 10 c pixels of 1000."""
    rng = np.random.default_rng(3)
    count = len(SPACE.grid()) + 1
    truth = np.full((PICTURES, 4), 1000)
    truth[:, 3] = 0
    right = 10 * np.arange(count)[:, None, None] + rng.integers(0, 3, (count, PICTURES, 4))
    right[..., 3] = 0
    said = right + 100
    said[0, :, 3] = 0
    plain = np.tile(np.arange(count)[:, None] / count, (1, PICTURES))
    given = np.stack([plain if rewards is None else rewards, plain])
    return Study(
        SPACE,
        Candidate(1, None, 0.1, 0.1),
        tuple(f"p{number}" for number in range(PICTURES)),
        np.full(PICTURES, 2),
        ("paper", "plain"),
        given.astype(np.float32),
        right.astype(np.int32),
        said.astype(np.int32),
        truth.astype(np.int32),
        (1, 2, 3),
        absent,
        {},
    )


@pytest.mark.parametrize("absent", ["count", "drop"])
def test_mean_iou_is_the_metrics(absent: str) -> None:
    study = made(absent=absent)
    for pictures in (None, [0], [1, 5, 7]):
        got = figures.mean_ious(study, figures.weights_of(study, pictures))
        chosen = slice(None) if pictures is None else np.array(pictures)
        for row, value in enumerate(got):
            counts = Counts(study.intersection[row], study.predicted[row], study.truth)
            want = mean_iou(counts.take(chosen), study.scored, absent=absent)
            assert value == pytest.approx(want)


def test_a_frame_has_the_grid_without_the_preset() -> None:
    study = made()
    table = figures.frame(study, [0, 1])
    assert len(table) == 24
    assert list(table["head"].unique()) == [0, 1, 2]
    np.testing.assert_allclose(table["reward"], study.rewards[0, :-1, :2].sum(1) / 4, rtol=1e-6)


def test_rank_correlation() -> None:
    same = figures.rank_correlation(made(), resamples=50)
    assert same.value == pytest.approx(1)
    assert same.low == pytest.approx(1)
    upside_down = -made().rewards[0]
    turned = made(upside_down)
    assert figures.rank_correlation(turned, resamples=50).value == pytest.approx(-1)
    assert figures.rank_correlation(turned, variant="plain", resamples=9).value == pytest.approx(1)
    without = dataclasses.replace(turned, variants=(), rewards=turned.rewards[:0])
    with pytest.raises(OvssError, match="no rewards"):
        figures.frame(without)
    with pytest.raises(OvssError, match="reward of the study"):
        figures.rank_correlation(turned, variant="plane")
    noise = np.random.default_rng(0).random((25, PICTURES))
    found = figures.rank_correlation(made(noise), resamples=200)
    assert -1 < found.low < found.high < 1
    assert found == figures.rank_correlation(made(noise), resamples=200)


def test_empty_candidates_are_known_and_may_be_left_out() -> None:
    noise = np.random.default_rng(0).random((25, PICTURES)) + 1
    noise[:12] = 0
    study = made(noise)
    study.intersection[:12, :, 1:] = study.predicted[:12, :, 1:] = 0
    keep = figures.alive(study)
    assert keep.tolist() == [False] * 12 + [True] * 12
    every = figures.rank_correlation(study, resamples=20).value
    few = figures.rank_correlation(study, keep, resamples=20).value
    assert every > 0.6 > few


def test_misleading_layers_and_heads() -> None:
    study = made()
    given = study.rewards[0].copy()
    given[:4] = 1  # layer 1, mean head: highest reward, lowest mean IoU
    table = figures.misleading(figures.frame(made(given)))
    first = table.iloc[0]
    assert (first["layer"], first["head"], first["rank_reward"], first["rank_miou"]) == (1, 0, 1, 6)
    assert first["lead"] == 5


def test_pictures_that_do_not_exist_are_refused() -> None:
    study = made()
    for pictures in ([], [12], [-1]):
        with pytest.raises(OvssError, match="from 0 to 11"):
            figures.weights_of(study, pictures)
