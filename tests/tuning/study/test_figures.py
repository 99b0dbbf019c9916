"""Figures of a study, on one made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.metrics.counts import Counts
from ovsslib.metrics.iou import mean_iou
from ovsslib.tuning.study import figures
from support.studies import IMAGES, made


@pytest.mark.parametrize("absent", ["count", "drop"])
def test_mean_iou_is_the_metrics(absent: str) -> None:
    study = made(absent=absent)
    for images in (None, [0], [1, 5, 7]):
        got = figures.mean_ious(study, figures.weights_of(study, images))
        chosen = slice(None) if images is None else np.array(images)
        for row, value in enumerate(got):
            counts = Counts(study.intersection[row], study.predicted[row], study.truth)
            want = mean_iou(counts.take(chosen), study.scored, absent=absent)
            assert value == pytest.approx(want)


def test_a_frame_has_the_grid_without_the_preset() -> None:
    study = made()
    table = figures.frame(study)
    assert len(table) == 24
    assert list(table["head"].unique()) == [0, 1, 2]
    np.testing.assert_allclose(table["reward"], study.rewards[0, :-1].sum(1) / 24, rtol=1e-6)


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
    noise = np.random.default_rng(0).random((25, IMAGES))
    found = figures.rank_correlation(made(noise), resamples=200)
    assert -1 < found.low < found.high < 1
    assert found == figures.rank_correlation(made(noise), resamples=200)


def test_empty_candidates_are_known_and_may_be_left_out() -> None:
    noise = np.random.default_rng(0).random((25, IMAGES)) + 1
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


def test_images_that_do_not_exist_are_refused() -> None:
    study = made()
    for images in ([], [12], [-1]):
        with pytest.raises(OvssError, match="from 0 to 11"):
            figures.weights_of(study, images)
