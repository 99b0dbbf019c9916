"""Speed of refinement, and of the pipeline that overlaps it with the model."""

from __future__ import annotations

import os
import statistics
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.bench.case import class_names, made_up_picture
from ovsslib.errors import OvssError
from ovsslib.evaluate.pool import ordered
from ovsslib.io.provenance import provenance
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.presets import preset
from ovsslib.pnp.refine import (
    add_background,
    blur,
    dense_crf,
    refine_maps,
    softmax,
    threshold,
)
from ovsslib.pnp.resample import upsample
from ovsslib.pnp.result import Maps

if TYPE_CHECKING:
    from ovsslib.evaluate.task import Picture

GRID = 21
"""Patches along each side of the measured maps: BLIP's at 336 pixels."""
_PATIENCE = 120.0


def made_up_maps(size: tuple[int, int], classes: int, seed: int) -> Maps:
    """A made-up image with smooth random maps, as a model might give them.

    Args:
        size: Width and height in pixels.
        classes: K.
        seed: The same result for the same seed.
    """
    coarse = np.random.default_rng(seed).random((classes, 4, 4)) ** 4
    maps = upsample(coarse, (GRID, GRID))
    return Maps(maps, class_names(classes), 1.0, made_up_picture(seed, size))


def stage_times(size: tuple[int, int], classes: int, images: int, config: PnPConfig) -> dict:
    """Time of each stage of refinement for images of one size.

    Args:
        size: Width and height in pixels.
        classes: Class names per image; the background plane comes on top.
        images: Images; medians are taken over them.
        config: Settings.

    Returns:
        `size` ("500x375"), `classes`, `planes`, and in milliseconds per image
        `upsample` (threshold and background plane included), `blur`, `crf` (softmax included)
        and `total`, the time of `ovsslib.pnp.refine.refine_maps` as a whole.
    """
    times: dict[str, list[float]] = {"upsample": [], "blur": [], "crf": [], "total": []}
    for seed in range(images):
        maps = made_up_maps(size, classes, seed)
        marks = [time.perf_counter()]
        planes = upsample(threshold(maps.maps, config.threshold), maps.image.shape[:2])
        planes = add_background(planes)
        marks.append(time.perf_counter())
        planes = blur(planes, config.blur)
        marks.append(time.perf_counter())
        dense_crf(softmax(planes), maps.image, config)
        marks.append(time.perf_counter())
        refine_maps(maps, config)
        marks.append(time.perf_counter())
        for found, spent in zip(times.values(), np.diff(marks), strict=True):
            found.append(1000 * float(spent))
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {"size": f"{size[0]}x{size[1]}", "classes": classes, "planes": classes + 1, **medians}


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
        if not numbers or min(numbers) < 1:
            raise OvssError(f"{what} must be 1 or more, got {list(numbers)}")
    config = preset("blip", background="always")
    return [stage_times(size, count, images, config) for size in sizes for count in classes]


@dataclass(frozen=True)
class Flow:
    """A stream of images refined: seconds from the first map's making to the last labels."""

    seconds: float
    checksums: tuple[int, ...]


def refine_one(task: tuple[Maps, PnPConfig]) -> tuple[int, int]:
    """Refine one image; runs in a worker process.

    Returns:
        The process's id, and a checksum of the labels.
    """
    return os.getpid(), zlib.crc32(refine_maps(*task).labels.tobytes())


def flow(maps: Iterable[Maps], config: PnPConfig, workers: int) -> Flow:
    """Refine maps as they come, beside whatever makes them.

    The clock starts when every worker process is there and has refined a small image: a long run
    starts its processes once.

    Args:
        maps: Made one by one while earlier ones are being refined.
        config: Settings.
        workers: Processes; 0 refines in this one.

    Raises:
        OvssError: A worker process does not start.
    """
    small = made_up_maps((16, 16), 1, 0)
    there: set[int] = set()
    begun = [0.0]
    warming = 0

    def tasks() -> Iterator[tuple[Maps, PnPConfig]]:
        nonlocal warming
        patience = time.perf_counter() + _PATIENCE
        while len(there) < max(1, workers):
            warming += 1
            yield small, config
            time.sleep(0.01 if workers else 0)
            if time.perf_counter() > patience:
                raise OvssError(f"{workers} worker processes did not start; use fewer")
        begun[0] = time.perf_counter()
        for item in maps:
            yield item, config

    sums = []
    for process, checksum in ordered(refine_one, tasks(), workers):
        there.add(process)
        sums.append(checksum)
    return Flow(time.perf_counter() - begun[0], tuple(sums[warming:]))


def pipeline(
    vlm: str,
    workers: Sequence[int],
    images: int,
    *,
    batch: int = 4,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Salience alone, refinement alone, and both overlapped, on Diorama's images.

    Args:
        vlm: Model: a name, a folder or a hub id.
        workers: Numbers of processes to refine in; 0 refines between the model's batches.
        images: Images.
        batch: Images in one pass of the model.
        device: Of the model; None takes a GPU where there is one.
        threads: Threads of the model; None leaves them as they are.

    Returns:
        `settings`; `salience` and `refinement` (one process) in images per second; `rows`
        with `workers`, `pipeline`, `slower_stage` (the rate if the stages overlap fully, the
        refinement `workers` times as fast) and `sum` (the rate if nothing overlaps), all in
        images per second; `same_labels`, whether all numbers of workers gave the same;
        `provenance`.

    Raises:
        OvssError: The model or the images are missing, or a number is out of range.
    """
    import torch

    from ovsslib.bench.machine import seconds
    from ovsslib.evaluate.run import compute_place
    from ovsslib.evaluate.spec import Execution, Log
    from ovsslib.evaluate.task import batches, task
    from ovsslib.pnp.pipeline import build

    if workers and min(workers) < 0:
        raise OvssError(f"workers must be 0 or more, got {list(workers)}")
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        model = build(vlm, device=device)
        log = Log()
        work = task("diorama", limit=images)
        parts = list(batches(work, Execution(batch), log))
        failed = log.failed
        if failed:
            raise OvssError(f"{len(failed)} images cannot be read: {next(iter(failed.values()))}")
        model.maps(*_arguments(parts[0]))  # warms up
        where = torch.device(compute_place(model.matcher)["device"])
        found: list[Maps] = []
        salience = seconds(
            lambda: found.extend(maps for part in parts for maps in model.maps(*_arguments(part))),
            where,
        )
        alone = flow(found, model.config, 0)
        runs = {
            number: flow(
                (maps for part in parts for maps in model.maps(*_arguments(part))),
                model.config,
                number,
            )
            for number in workers
        }
        used = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    count = len(found)
    rows = [
        {
            "workers": number,
            "pipeline": count / run.seconds,
            "slower_stage": count / max(salience, alone.seconds / max(1, number)),
            "sum": count / (salience + alone.seconds),
        }
        for number, run in runs.items()
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
        "refinement": count / alone.seconds,
        "rows": rows,
        "same_labels": all(run.checksums == alone.checksums for run in runs.values()),
        "provenance": provenance(**compute_place(model.matcher)),
    }


def _arguments(part: Sequence[Picture]) -> tuple[list[Any], list[tuple[str, ...]]]:
    """A batch as `ovsslib.pnp.pipeline.PnPOVSS.maps` takes it."""
    return [picture.image for picture in part], [picture.classes for picture in part]


def everything_about(
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
