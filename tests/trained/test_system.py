"""Batches with their pairs, and the loop that every system is trained by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ovsslib.errors import OvssError
from ovsslib.lookup import Amount
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.trained.system import Batch, Plan, System, start_scale, train_system
from support.batches import make_batch

RECIPE = Recipe(24, 24)


def test_pairs_that_may_be_right_are_left_out_of_the_contrast() -> None:
    some = make_batch()
    expected = [[False, True, False], [False, False, False], [False, False, False]]
    assert some.fits.tolist() == expected
    cosines = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.7, 0.3], [0.0, 0.1, 0.6]])
    loss, found = some.contrast(cosines, torch.tensor(math.log(2.0)))
    total = 0.0
    for index in range(3):
        row = [j for j in range(3) if not expected[index][j]]
        column = [i for i in range(3) if not expected[i][index]]
        right = 2 * float(cosines[index, index])
        total += math.log(sum(math.exp(2 * float(cosines[index, j])) for j in row)) - right
        total += math.log(sum(math.exp(2 * float(cosines[i, index])) for i in column)) - right
    assert float(loss) == pytest.approx(total / 6, abs=1e-5)
    assert float(found) == 1.0
    limited, _ = some.contrast(cosines, torch.tensor(50.0))
    assert float(limited) == pytest.approx(float(some.contrast(cosines, torch.tensor(5.0))[0]), 1)
    assert float(start_scale().exp().detach()) == pytest.approx(1 / 0.07)


class Counter(nn.Module):
    """Learns one number, and notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.number, self.seen = nn.Parameter(torch.tensor(3.0)), []

    def forward(self, given: Batch) -> dict[str, Tensor]:
        self.seen.append(given)
        return {"square": self.number.square() * (1 + given.rng.random())}


@dataclass(frozen=True)
class Size:
    side: int = 16


@dataclass(frozen=True)
class CounterPlan(Plan):
    """A plan with one option."""

    option: Amount = 0

    def size(self, **given: Any) -> Size:
        return Size(**given)

    def make(self, size: Size, train: Any) -> System:
        assert train.pictures.shape == (24, size.side, size.side, 3)
        self.made.append(Counter())

        def scores(pictures: np.ndarray) -> Any:
            return lambda numbers, texts: np.zeros(len(texts))

        def save(folder: Path) -> None:
            folder.mkdir(parents=True, exist_ok=True)

        return System(self.made[-1], {"square": 1.0}, scores, save)


CounterPlan.made = []  # type: ignore[attr-defined]


def test_a_run_is_continued_but_not_with_other_options(drawn: Path, tmp_path: Path) -> None:
    schedule = Schedule(steps=4, batch=6, save_every=2)

    def run(folder: str, plan: CounterPlan, stop: int = 4) -> list[float]:
        records = train_system(schedule, RECIPE, drawn, tmp_path / folder, 9, plan.size(), plan)
        out = [record["square"] for _, record in zip(range(stop), records, strict=False)]
        records.close()
        return out

    whole = run("whole", CounterPlan())
    given = CounterPlan.made[-1].seen  # type: ignore[attr-defined]
    assert [round(one.done, 2) for one in given] == [0, 0.25, 0.5, 0.75]
    assert {len(one.pixels) for one in given} == {6}
    assert all(len(one.compared) == len(one.captions) == 6 for one in given)
    assert "match_accuracy" not in (tmp_path / "whole" / "heldout.jsonl").read_text()
    run("half", CounterPlan(), stop=3)
    assert run("half", CounterPlan()) == whole[2:]
    with pytest.raises(OvssError, match="another recipe"):
        run("half", CounterPlan(option=1))
