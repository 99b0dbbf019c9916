"""Images per second by batch size: what a GPU makes of the pipeline."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from ovsslib.bench.case import Spec, Work, class_names, made_up_picture, prepare
from ovsslib.bench.machine import count_flops, matmul_rate, seconds
from ovsslib.bench.refine import flow
from ovsslib.bench.salience import ours, place
from ovsslib.errors import OvssError
from ovsslib.evaluate.run import compute_place
from ovsslib.io.provenance import provenance
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.result import Maps


def sweep(
    spec: Spec,
    batches: Sequence[int],
    *,
    repeats: int = 3,
    workers: int = 0,
    matmul_size: int | None = None,
) -> dict[str, Any]:
    """Images per second by batch size, of salience and of the whole pipeline.

    Args:
        spec: What to measure; `batch` is replaced, and `images` is the least number of
            images (rounded up to whole batches).
        batches: Batch sizes, each at least 1.
        repeats: Timed turns of salience; the pipeline runs once.
        workers: Processes for refinement beside the model; 0 refines in this one.
        matmul_size: See `ovsslib.bench.machine.matmul_rate`.

    Returns:
        `settings`, `matmul_rate` in FLOP per second, `flops` per image, `provenance`, and
        `rows`: per batch size `batch`, `images`, `salience` and `pipeline` in images
        per second, `share` of the matmul rate that salience reaches, and on a GPU the `peak`
        bytes allocated. A batch that does not fit into memory ends the list with a row that holds
        `error` instead.

    Raises:
        OvssError: See `ovsslib.bench.case.prepare`; or a batch size is below 1.
    """
    if not batches or min(batches) < 1:
        raise OvssError(f"batch sizes must be 1 or more, got {list(batches)}")
    before = torch.get_num_threads()
    try:
        first = prepare(dataclasses.replace(spec, batch=1, images=1))
        device = place(first)
        rates = [matmul_rate(getattr(torch, spec.dtype), device, size=matmul_size)]
        flops = count_flops(lambda: ours(first))
        rows: list[dict[str, Any]] = []
        for batch in batches:
            work = more_pictures(first, batch, spec.images or batch)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            try:
                ours(work)
                salience = partial(ours, work)
                spent = statistics.median(seconds(salience, device) for _ in range(repeats))
                streamed = flow(_stream(work), work.config, workers)
            except torch.OutOfMemoryError:
                rows.append({"batch": batch, "error": "out of memory"})
                break
            rates.append(matmul_rate(getattr(torch, spec.dtype), device, size=matmul_size))
            count = len(work.pictures)
            row = {
                "batch": batch,
                "images": count,
                "salience": count / spent,
                "pipeline": count / streamed.seconds,
            }
            if device.type == "cuda":
                row["peak"] = torch.cuda.max_memory_allocated(device)
            rows.append(row)
        threads = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    rate = max(rates)
    for row in rows:
        if "salience" in row:
            row["share"] = row["salience"] * flops / rate
    settings = {k: v for k, v in first.describe().items() if k not in ("batch", "images")}
    more = {"repeats": repeats, "workers": workers, "threads": threads, "seed": spec.seed}
    return {
        "kind": "bench-batches",
        "settings": settings | more,
        "rows": rows,
        "flops": flops,
        "flops_counted_by": "torch.utils.flop_counter",
        "matmul_rate": rate,
        "provenance": provenance(**compute_place(first.matcher)),
    }


def more_pictures(work: Work, batch: int, least: int) -> Work:
    """The same model with as many whole batches as hold at least so many images."""
    count = -(-least // batch) * batch
    # A few images, each several times: drawing hundreds would take longer than measuring.
    drawn = [made_up_picture(number) for number in range(min(count, 8))]
    names = [class_names(len(work.classes[0]), number) for number in range(count)]
    pictures = [drawn[number % len(drawn)] for number in range(count)]
    return dataclasses.replace(work, pictures=pictures, classes=names, batch=batch)


def _stream(work: Work) -> Iterator[Maps]:
    """Salience maps one by one, made a batch at a time."""
    model = PnPOVSS(work.matcher, work.config)
    for pictures, classes in work.batches():
        yield from model.maps(pictures, classes)
