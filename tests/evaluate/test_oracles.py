"""One answer scored several ways, against small label maps worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.oracles import (
    ROWS,
    background_interval,
    background_share,
    majority,
    perfect_names,
    perfect_regions,
    regions,
    tallies,
)
from ovsslib.evaluate.task import make_task
from ovsslib.metrics.counts import Counts, image_counts
from ovsslib.metrics.iou import interval, mean_iou
from ovsslib.protocols.protocol import get_protocol

V = 255
# Two things of class 1, one of class 2, background 0; a rim of void.
TRUTH = np.array(
    [
        [1, 1, V, 0, 0, 0],
        [1, 1, V, 0, 2, 2],
        [V, V, V, 0, 2, 2],
        [0, 0, 0, 0, 2, 2],
        [0, 0, 0, 0, V, V],
        [1, 1, 0, 0, 0, 0],
    ]
)
# The first thing is called 2 in three of four pixels, the second is missed by half.
ANSWER = np.array(
    [
        [2, 2, 2, 0, 0, 0],
        [2, 1, 1, 0, 2, 2],
        [2, 0, 0, 0, 2, 0],
        [0, 0, 0, 0, 2, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
    ]
)


def flood(labels: np.ndarray, void: np.ndarray) -> np.ndarray:
    """Regions by walking from pixel to neighbouring pixel, in the order of rows and columns."""
    out = np.full(labels.shape, -1)
    for start in np.ndindex(*labels.shape):
        if void[start] or out[start] >= 0:
            continue
        number, stack = out.max() + 1, [start]
        while stack:
            row, column = stack.pop()
            if out[row, column] >= 0:
                continue
            out[row, column] = number
            for r in range(max(0, row - 1), min(labels.shape[0], row + 2)):
                for c in range(max(0, column - 1), min(labels.shape[1], column + 2)):
                    if not void[r, c] and labels[r, c] == labels[start]:
                        stack.append((r, c))
    return out


@pytest.mark.parametrize("seed", range(5))
def test_regions_are_those_of_a_flood(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, void = rng.integers(0, 3, (9, 7)), rng.random((9, 7)) < 0.2
    found, walked = regions(labels, void), flood(labels, void)
    assert ((found < 0) == void).all()
    pairs = set(zip(found[~void].tolist(), walked[~void].tolist(), strict=True))
    assert len(pairs) == found.max() + 1 == walked.max() + 1


def test_by_hand_perfect_regions() -> None:
    expected = np.array(
        [
            [2, 2, V, 0, 0, 0],
            [2, 2, V, 0, 2, 2],
            [V, V, V, 0, 2, 2],
            [0, 0, 0, 0, 2, 2],
            [0, 0, 0, 0, V, V],
            [0, 0, 0, 0, 0, 0],
        ]
    )
    found = perfect_regions(ANSWER, TRUTH)
    known = TRUTH != V
    assert (found[known] == expected[known]).all()
    assert (found[~known] == ANSWER[~known]).all()


def test_by_hand_perfect_names() -> None:
    found = perfect_names(ANSWER, TRUTH)
    # The region of 2 at the top left is truly 1; of 1 beside it one scored pixel, truly 1.
    assert (found[:2, :2] == 1).all()
    assert found[0, 2] == found[1, 2] == found[2, 0] == 1
    assert found[5, 1] == 1
    assert (found[1:3, 4] == 2).all()
    # What lies outside every named region is one region, mostly background.
    assert found[5, 0] == found[2, 5] == found[3, 5] == 0
    named = ANSWER > 0
    assert set(found[named]) == {1, 2}


def test_by_hand_the_scores() -> None:
    protocol = get_protocol("pnp-fixed")
    looked_for, labels = (1, 2), ANSWER - 1
    rows = tallies(protocol, labels, looked_for, TRUTH.astype(np.uint8), 2)
    assert tuple(rows) == ROWS
    per_row = {row: tally.counts for row, tally in rows.items()}
    # Class 1: 6 pixels; plain finds 2 of them and nothing else.
    assert per_row["plain"].intersection.tolist() == [[17, 2, 4]]
    assert per_row["plain"].predicted.tolist() == [[20, 2, 7]]
    assert per_row["plain"].truth.tolist() == [[17, 6, 6]]
    assert mean_iou(per_row["plain"], [1, 2]) == pytest.approx((2 / 6 + 4 / 9) / 2)
    # The first thing is 2 altogether, the second a tie of 0 and 1, which goes to 0.
    assert per_row["perfect regions"].intersection.tolist() == [[17, 0, 6]]
    assert mean_iou(per_row["perfect regions"], [1, 2]) == pytest.approx((0 + 6 / 10) / 2)
    assert per_row["perfect names"].intersection.tolist() == [[17, 5, 4]]
    assert mean_iou(per_row["perfect names"], [1, 2]) == pytest.approx((5 / 6 + 4 / 6) / 2)
    # Of 12 object pixels three are background in the answer.
    assert background_share(per_row["plain"]) == pytest.approx(3 / 12)
    assert background_share(per_row["perfect regions"]) == pytest.approx(2 / 12)


def test_what_is_right_stays_right() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (12, 12))
    truth[rng.random(truth.shape) < 0.1] = V
    right = np.where(truth == V, rng.integers(0, 4, truth.shape), truth)
    for oracle in (perfect_regions, perfect_names):
        found = oracle(right, truth)
        assert (found == truth)[truth != V].all()


@pytest.mark.parametrize("seed", range(4))
def test_an_oracle_never_costs_pixels(seed: int) -> None:
    """Perfect names give each region its best label; accuracy over scored pixels cannot fall."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.repeat(rng.integers(0, 4, (4, 4)), 5, 0), 5, 1)
    truth[rng.random(truth.shape) < 0.1] = V
    answer = np.where(rng.random(truth.shape) < 0.6, np.where(truth == V, 0, truth), 1)
    known = truth != V
    assert (perfect_names(answer, truth) == truth)[known].sum() >= (answer == truth)[known].sum()


def test_void_has_no_say() -> None:
    truth, answer = np.full((3, 3), V), np.ones((3, 3), int)
    assert (perfect_names(answer, truth) == 1).all()
    assert (perfect_regions(answer, truth) == 1).all()
    truth[0, 0] = 2
    assert (perfect_names(answer, truth) == 2).all()
    # Without a void label 255 is a label as any other.
    assert (perfect_names(answer, truth, None) == V).all()


def test_majority_by_counting() -> None:
    rng = np.random.default_rng(1)
    values, parts = rng.integers(0, 5, (8, 8)), rng.integers(-1, 6, (8, 8))
    scored = rng.random((8, 8)) < 0.7
    found = majority(values, parts, scored)
    for k in range(-1, 6):
        inside = parts == k
        counted = np.bincount(values[inside & scored], minlength=5)
        best = counted.argmax() if counted.any() and k >= 0 else -1
        assert (found[inside] == best).all()
    assert (majority(values, np.full((8, 8), -1), scored) == -1).all()


def test_shapes_must_agree() -> None:
    with pytest.raises(OvssError, match="differ in shape"):
        perfect_regions(ANSWER, TRUTH[:3])


def test_plain_is_the_score_of_a_run() -> None:
    data = load_dataset("diorama", None, "tune")
    task = make_task(data, protocol="pnp", limit=1)
    sample = task.read(data.ids[0])
    labels = np.random.default_rng(0).integers(-1, len(sample.classes), sample.truth.shape)
    n = len(data.classes)
    usual = task.protocol.tally(labels, sample.looked_for, sample.truth, n)
    row = tallies(task.protocol, labels, sample.looked_for, sample.truth, n)["plain"]
    assert (row.confusion == usual.confusion).all()
    assert (row.counts.predicted == usual.counts.predicted).all()
    assert (row.boundary.intersection == usual.boundary.intersection).all()


def test_the_interval_of_the_share_holds_it() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (20, 6, 6))
    pred = np.where(rng.random(truth.shape) < 0.6, truth, 0)
    counts = Counts.stack([image_counts(p, t, 3) for p, t in zip(pred, truth, strict=True)])
    lost = ((pred == 0) & (truth > 0)).sum() / (truth > 0).sum()
    found = background_interval(counts)
    assert found.value == background_share(counts) == pytest.approx(lost)
    assert found.low < lost < found.high
    wide = background_interval(counts, level=0.99)
    assert wide.high - wide.low > found.high - found.low
    assert interval(counts).value > 0
    nothing = Counts(*(np.zeros((2, 3), int) for _ in range(3)))
    assert np.isnan(background_interval(nothing).value)
