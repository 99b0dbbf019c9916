"""Figures over vocabularies and draws, against loops over images, classes and draws."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate.oracles import background_share
from ovsslib.evaluate.stress_cases import Case
from ovsslib.evaluate.stress_figures import (
    RULES,
    Measured,
    figures,
    read_counts,
    write_counts,
)
from ovsslib.metrics.counts import COUNT_NAMES, Counts, image_counts
from ovsslib.metrics.draws import over_draws

N, IMAGES = 3, 6


def some_counts(seed: int, extra: int = 0) -> Counts:
    """Counts over background, three classes (the last is nowhere true) and distractors."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, N, (IMAGES, 6, 6))
    pred = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, N + 1 + extra, (6, 6)))
    labels = N + 1 + extra
    return Counts.stack([image_counts(p, t, labels) for p, t in zip(pred, truth, strict=True)])


def by_loops(counts: Counts, labels: list[int], rule: str) -> float:
    values = []
    for k in labels:
        inside, said, true = (getattr(counts, name)[:, k].sum() for name in COUNT_NAMES)
        if true or (rule == "count" and said):
            values.append(inside / (said + true - inside))
    return float(np.mean(values))


def measured(case: Case, seed: int, extra: int = 0) -> Measured:
    return Measured(case, some_counts(seed, extra), (1, 2, 3, *range(N + 1, N + 1 + extra)))


ALL = [
    measured(Case("plain"), 0),
    *(
        measured(Case("near", amount, k), 10 * amount + k, amount)
        for amount in (2, 4)
        for k in (0, 1)
    ),
    *(measured(Case("plural", 1.0, k), k + 5) for k in (0, 1)),
    measured(Case("clutter"), 99, 1),
]
ROWS = {"plain": ALL[0].counts, "perfect names": some_counts(50)}
FOUND = figures(ALL, ROWS, (1, 2, 3), resamples=200)


def test_every_run_is_given_under_both_rules() -> None:
    assert set(RULES) == {"count", "drop"}
    assert list(FOUND["runs"]) == [each.case.name for each in ALL]
    for each in ALL:
        run = FOUND["runs"][each.case.name]
        assert (run["condition"], run["amount"]) == (each.case.condition, each.case.amount)
        for rule in RULES:
            assert run[rule]["value"] == pytest.approx(
                by_loops(each.counts, list(each.scored), rule)
            )
            assert run[rule]["low"] <= run[rule]["value"] <= run[rule]["high"]
        assert run["background"]["value"] == background_share(each.counts)
    # A class that is nowhere true, and distractors, cost under one rule only.
    assert all(run["count"]["value"] < run["drop"]["value"] for run in FOUND["runs"].values())


def test_curves_are_means_over_draws() -> None:
    rows = {(row["condition"], row["amount"]): row for row in FOUND["curves"]}
    assert list(rows) == [
        ("plain", None), ("near", 2), ("near", 4), ("plural", 1.0), ("clutter", None)
    ]  # fmt: skip
    base = FOUND["runs"]["plain"]["count"]["value"]
    values = [FOUND["runs"][f"near 4 #{k}"]["count"]["value"] for k in (0, 1)]
    row = rows["near", 4]["count"]
    assert row["value"] == pytest.approx(np.mean(values))
    assert row["difference"]["value"] == pytest.approx(np.mean(values) - base)
    spread = over_draws(np.array(values))
    assert row["draws"] == {"number": 2, "low": spread.low, "high": spread.high}
    lost = [FOUND["runs"][f"near 4 #{k}"]["background"]["value"] for k in (0, 1)]
    assert rows["near", 4]["background"] == pytest.approx(np.mean(lost))
    assert rows["plain", None]["drop"]["difference"] == {"value": 0, "low": 0, "high": 0}


def test_intervals_over_images_resample_all_draws_alike() -> None:
    """By loops: the same images for both draws, and for plain names."""
    from ovsslib.metrics.iou import resample_weights

    weights = resample_weights(IMAGES, resamples=200)
    draws = [each for each in ALL if each.case.name.startswith("near 4")]
    means = []
    for row in weights:
        index = np.repeat(np.arange(IMAGES), row)
        means.append(
            np.mean([by_loops(d.counts.take(index), list(d.scored), "count") for d in draws])
        )
    (curve,) = (c for c in FOUND["curves"] if (c["condition"], c["amount"]) == ("near", 4))
    expected = np.percentile(means, [2.5, 97.5])
    assert (curve["count"]["low"], curve["count"]["high"]) == pytest.approx(tuple(expected))


def test_slopes_are_per_ten_distractors_and_per_all_names() -> None:
    slopes = {row["condition"]: row for row in FOUND["slopes"]}
    assert {name: row["per"] for name, row in slopes.items()} == {"near": 10, "plural": 1}
    base = FOUND["runs"]["plain"]["drop"]["value"]
    top = bottom = 0.0
    for amount in (2, 4):
        values = [FOUND["runs"][f"near {amount} #{k}"]["drop"]["value"] for k in (0, 1)]
        top += amount / 10 * (np.mean(values) - base)
        bottom += (amount / 10) ** 2
    assert slopes["near"]["drop"]["value"] == pytest.approx(top / bottom)
    assert slopes["near"]["drop"]["low"] < top / bottom < slopes["near"]["drop"]["high"]


def test_oracle_rows_are_of_one_answer() -> None:
    assert FOUND["oracles"].keys() == ROWS.keys()
    assert FOUND["oracles"]["plain"]["drop"] == FOUND["runs"]["plain"]["drop"]
    found = FOUND["oracles"]["perfect names"]["count"]["value"]
    assert found == pytest.approx(by_loops(ROWS["perfect names"], [1, 2, 3], "count"))


def test_vocabularies_need_the_same_images() -> None:
    fewer = dataclasses.replace(ALL[1], counts=ALL[1].counts.take(slice(3)))
    with pytest.raises(OvssError, match="different images"):
        figures([ALL[0], fewer], ROWS, (1, 2, 3))


def test_counts_come_back_from_the_file(tmp_path: Path) -> None:
    found = {each.case.name: each.counts for each in ALL}
    found["nothing"] = Counts(*(np.zeros((IMAGES, 4), np.int64) for _ in COUNT_NAMES))
    ids = [f"{k}" for k in range(IMAGES)][::-1]
    path = write_counts(tmp_path / "a.images.parquet", ids, found)
    names, again = read_counts(tmp_path / "a.json")
    assert names == tuple(ids)
    assert list(again) == list(found)
    for name, counts in found.items():
        for part in COUNT_NAMES:
            assert np.array_equal(getattr(again[name], part), getattr(counts, part))
    path.write_text("x")
    for broken in (path, tmp_path / "none.json"):
        with pytest.raises(OvssError, match="no counts can be read there"):
            read_counts(broken)
