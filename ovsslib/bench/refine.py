"""Speed of refinement (Step 5), and of the pipeline that overlaps it with the model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import astuple
from typing import Annotated, Any

import numpy as np

from ovsslib.bench.case import class_names, synthetic_image
from ovsslib.evaluate.result import RunResult
from ovsslib.io.pool import close
from ovsslib.io.provenance import provenance
from ovsslib.lookup import Count, Range, Threads, Workers, check_types
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.presets import preset
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.resample import upsample
from ovsslib.pnp.result import Maps

GRID = 21
"""Patches along each side of the measured maps: BLIP's at 336 pixels."""


def synthetic_maps(size: tuple[int, int], classes: int, seed: int) -> Maps:
    """A synthetic image with smooth random maps, as a model might give them.

    Args:
        size: Width and height in pixels.
        classes: K.
        seed: The same result for the same seed.
    """
    coarse = np.random.default_rng(seed).random((classes, 4, 4)) ** 4
    maps = upsample(coarse, (GRID, GRID))
    return Maps(maps, class_names(classes), 1.0, synthetic_image(seed, size))


def stage_times(
    size: tuple[int, int], classes: int, images: int, config: PnPConfig
) -> dict[str, Any]:
    """Time of each stage of refinement: `refine_maps` with more and more of it switched on.

    Args:
        size: Width and height in pixels.
        classes: Class names per image; the background plane comes on top.
        images: Images; medians are taken over them.
        config: Settings.

    Returns:
        `size` ("500x375"), `classes`, `planes`, and in milliseconds per image
        `upsample` (threshold, background plane and labels included), what `blur` and `crf`
        (softmax included, by pydensecrf) add to it, and their `total`; the same of the backend
        `torch` on the CPU: `blur_torch` (all before the CRF), `crf_torch`, and `crf_shared` once
        the lattices of an image are there; `ratio` and `ratio_shared`, how many times as fast as
        `crf` these two are.
    """
    from ovsslib.densecrf.shared import lattices

    config = config.replace(crf_backend="pydensecrf")
    torch_crf = config.replace(crf_backend="torch")
    settings = {
        "upsample": config.replace(blur=0, normalise=False, crf=False),
        "blur": config.replace(crf=False),
        "total": config,
        "plain": torch_crf.replace(crf=False),
        "torch": torch_crf,
        "shared": torch_crf,
    }
    times: dict[str, list[float]] = {name: [] for name in settings}
    for seed in range(images):
        maps = synthetic_maps(size, classes, seed)
        lattices.clear()
        for name, setting in settings.items():
            start = time.perf_counter()
            refine_maps(maps, setting)
            times[name].append(1000 * (time.perf_counter() - start))
    first, second, total, plain, own, shared = (
        statistics.median(spent) for spent in times.values()
    )
    return {
        "size": f"{size[0]}x{size[1]}",
        "classes": classes,
        "planes": classes + 1,
        "upsample": first,
        "blur": second - first,
        "crf": total - second,
        "total": total,
        "blur_torch": plain,
        "crf_torch": own - plain,
        "crf_shared": shared - plain,
        "ratio": (total - second) / (own - plain),
        "ratio_shared": (total - second) / (shared - plain),
    }


def stages(
    sizes: Sequence[tuple[int, int]], classes: Sequence[int], images: int
) -> list[dict[str, Any]]:
    """`stage_times` of every size and number of classes, with the settings of preset `blip`.

    Raises:
        OvssError: A size or number is below 1.
    """
    for what, numbers in (
        ("sizes", [side for size in sizes for side in size]),
        ("classes", classes),
        ("images", [images]),
    ):
        check_types({what: numbers}, {what: Annotated[list[Count], Range(1)]})
    config = preset("blip", background="always")
    return [stage_times(size, count, images, config) for size in sizes for count in classes]


def pipeline(
    vlm: str,
    refiners: Sequence[int],
    images: int,
    *,
    batch: int = 4,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Salience alone, refinement alone, and both overlapped, in runs on Diorama's images.

    Each run is done twice and the second counts, when its processes are there.

    Args:
        vlm: Model: a name, a folder or a hub id.
        refiners: Numbers of processes to refine in; 0 refines between the model's batches.
        images: Images.
        batch: Images in one pass of the model.
        device: Of the model; None takes a GPU where there is one.
        threads: Threads of the model; None leaves them as they are.

    Returns:
        `settings`; `salience` and `refinement` (one process) in images per second; `rows`
        with `workers`, `pipeline`, `slower_stage` (the rate if the stages overlap fully, the
        refinement `workers` times as fast) and `sum` (the rate if nothing overlaps), all in
        images per second; `same_labels`, whether all counts of pixels are the same for all
        numbers of processes; `provenance`.

    Raises:
        OvssError: The model or the images are missing, or a number is out of range.
    """
    import torch

    from ovsslib.bench.salience import same_threads
    from ovsslib.evaluate.run import run_configs
    from ovsslib.evaluate.spec import Execution
    from ovsslib.evaluate.task import make_task
    from ovsslib.pnp.pipeline import build

    given = {"refiners": refiners, "images": images, "batch": batch, "threads": threads}
    kinds = {"refiners": list[Workers], "images": Count, "batch": Count, "threads": Threads | None}
    check_types(given, kinds)
    with same_threads():
        if threads is not None:
            torch.set_num_threads(threads)
        model, diorama = build(vlm, device=device), make_task("diorama", limit=images)
        runs: dict[int, RunResult] = {}
        try:
            for number in (0, 0, *(n for n in refiners if n for _ in range(2))):
                execution = Execution(batch, number, keep=True)
                configs = {"run": model.config}
                runs[number] = run_configs(model.matcher, configs, diorama, execution)["run"]
        finally:
            close()
        used = torch.get_num_threads()
    alone = runs[0]
    count = len(alone.ids)
    salience, refinement = (alone.stages[stage] for stage in ("salience", "refine"))
    rows = [
        {
            "workers": number,
            "pipeline": count / runs[number].seconds,
            "slower_stage": count / max(salience, refinement / max(1, number)),
            "sum": count / (salience + refinement),
        }
        for number in refiners
    ]
    return {
        "settings": {
            "vlm": model.matcher.name,
            "config": model.config.to_dict(),
            "dataset": "diorama",
            "images": count,
            "batch": batch,
            "threads": used,
        },
        "salience": count / salience,
        "refinement": count / refinement,
        "rows": rows,
        "same_labels": all(same_counts(run, alone) for run in runs.values()),
        "provenance": alone.provenance,
    }


def same_counts(run: RunResult, other: RunResult) -> bool:
    """Whether two runs counted the same pixels in each image."""
    both = ((*astuple(r.counts), *astuple(r.boundary or r.counts)) for r in (run, other))
    return all(np.array_equal(a, b) for a, b in zip(*both, strict=True))


def record(
    sizes: Sequence[tuple[int, int]],
    classes: Sequence[int],
    images: int,
    streams: dict[str, Any] | None,
) -> dict[str, Any]:
    """The record of `ovss bench refine`: `stages`, and `pipeline`'s result if there is one."""
    return {
        "kind": "bench-refine",
        "settings": {"grid": GRID, "images": images, "config": preset("blip").to_dict()},
        "rows": stages(sizes, classes, images),
        "pipeline": streams,
        "provenance": provenance(),
    }
