"""What training costs: the steps of every model that `ovss train` trains."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ovsslib.bench.machine import count_flops, matmul_rate
from ovsslib.bench.salience import same_threads
from ovsslib.io.provenance import provenance
from ovsslib.lookup import Count, Threads, check_names, check_types
from ovsslib.miniature.training.cache import HELD, prepare
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.trained.registry import TRAINABLE
from ovsslib.types import Progress

STEPS = 12
"""Steps of the shortened schedule: enough for OVSegmentor's masks, in its last sixth. A training's
last steps, with whole images, are not in it."""

KINDS = {"batch": Count | None, "threads": Threads | None}
Begin = Callable[..., Iterator[dict[str, Any]]]


def training(
    models: Sequence[str] = (),
    *,
    batch: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the training steps of models one after another, on the CPU.

    Args:
        models: Keys of `TRAINABLE`; none for all systems under the common budget.
        batch: Images in a step; None for each model's own.
        threads: Threads of torch; None leaves them as they are.
        progress: Shows progress; None for silence.

    Returns:
        `settings`; `rows`, of each model what `step_cost` gives, its `steps` and `dtype`, and the
        `minutes` that all steps take; `provenance`.

    Raises:
        OvssError: A name is unknown, or the machine cannot multiply in a model's type.
    """
    check_types({"batch": batch, "threads": threads}, KINDS)
    systems = [name for name, entry in TRAINABLE.items() if entry.size is None]
    check_names("model to train", models, TRAINABLE)
    chosen = list(dict.fromkeys(models or systems))
    rows = []
    with same_threads():
        if threads is not None:
            torch.set_num_threads(threads)
        for name in progress(chosen, "models", len(chosen)) if progress else chosen:
            entry = TRAINABLE[name]
            begin, sizes = entry.start()
            schedule = Schedule(**entry.schedule)
            shorter = schedule if batch is None else replace(schedule, batch=batch)
            cost = step_cost(begin, shorter, Recipe(**entry.recipe), sizes())
            minutes = schedule.steps * cost["seconds"] / 60
            given = {"model": name, "steps": schedule.steps, "dtype": schedule.dtype}
            rows.append(given | cost | {"minutes": minutes})
        settings = {"batch": batch, "threads": torch.get_num_threads(), "measured": STEPS - 1}
    return {
        "kind": "bench-training",
        "settings": settings,
        "rows": rows,
        "provenance": provenance(device="cpu"),
    }


def step_cost(begin: Begin, schedule: Schedule, recipe: Recipe, size: Any) -> dict[str, float]:
    """What a step of a training costs.

    A schedule of `STEPS` steps is run on the images of one batch, so that whatever is computed once
    for an image (superpixels, features of crops) is in the first step alone.

    Args:
        begin: Starts the training, see `ovsslib.trained.registry.Trainable.start`.
        schedule: Its length is replaced.
        recipe: Its numbers of images are replaced.
        size: The architecture.

    Returns:
        `first`, seconds of the first step; `seconds`, the mean of the others, and `longest`;
        `flops`, their mean floating-point operations in products and convolutions; `share`, of the
        rate at which the machine multiplies matrices in the same type, measured between the steps.

    Raises:
        OvssError: The machine cannot multiply in the schedule's type.
    """
    # The last step, after which held-out figures are computed, is never asked for.
    schedule = replace(schedule, steps=STEPS + 1)
    recipe = replace(recipe, pictures=schedule.batch, heldout=2)
    with TemporaryDirectory() as place:
        cache = Path(place) / "cache"
        for split, n in (*((held, 2) for held in HELD), ("train", recipe.pictures)):
            for _ in prepare(cache, split, n, recipe.data_seed, 1, recipe.close_ups):
                pass

        def steps(name: str) -> Iterator[dict[str, Any]]:
            return begin(schedule, recipe, cache, Path(place) / name, schedule.steps, size)

        spent, rates = [], []
        for record in islice(steps("timed"), STEPS):
            spent.append(float(record["seconds"]))
            rates.append(matmul_rate(getattr(torch, schedule.dtype), torch.device("cpu")))
        counted = islice(steps("counted"), STEPS)
        next(counted)
        flops = count_flops(lambda: list(counted)) / (STEPS - 1)
    mean = statistics.mean(spent[1:])
    return {
        "first": spent[0],
        "seconds": mean,
        "longest": max(spent[1:]),
        "flops": flops,
        "share": flops / mean / statistics.median(rates),
    }
