"""Speed and memory of Steps 2 to 4 (salience with dropout), and whether the result is right."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from ovsslib.bench import full_graph
from ovsslib.bench.agreement import TOLERANCE, compare, same_labels
from ovsslib.bench.case import Case, Spec, prepare
from ovsslib.bench.machine import alternate, count_flops, matmul_rate, seconds
from ovsslib.bench.memory import resident
from ovsslib.evaluate.run import compute_place
from ovsslib.io.pool import ordered
from ovsslib.io.provenance import provenance
from ovsslib.lookup import Amount, Count, check_types
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.result import Maps

WAYS = ("everything", "ours")
"""Differentiating everything (`ovsslib.bench.full_graph`), and this library's pipeline."""


def ours(case: Case, *, stages: bool = False) -> list[Maps]:
    """The library's pipeline over all images: salience with dropout, no refinement."""
    model = PnPOVSS(case.matcher, case.config)
    maps = []
    for images, classes in case.batches():
        maps += model.maps(images, classes, stages=stages)
    return maps


def device_of(case: Case) -> torch.device:
    """Where the model's weights are."""
    return torch.device(compute_place(case.matcher)["device"])


@contextlib.contextmanager
def same_threads() -> Iterator[None]:
    """Give back torch's number of threads, which `prepare` may change."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def versus(
    spec: Spec,
    *,
    repeats: int = 3,
    tolerance: float | None = None,
    memory: bool = True,
    matmul_size: int | None = None,
) -> dict[str, Any]:
    """Both ways on the same weights and images in one run: results, time, memory, FLOPs.

    The full graph always computes in float32, as code of its kind does; ours in what `spec` says.

    Args:
        spec: What to measure.
        repeats: Timed turns; each times both ways and the matrix product.
        tolerance: Largest difference of the maps; None takes that of the type.
        memory: Whether each way is run once more in a process of its own, for its peak memory.
        matmul_size: See `ovsslib.bench.machine.matmul_rate`.

    Returns:
        `settings`; `agreement` (see `ovsslib.bench.agreement.Agreement`); `labels`, the
        share of pixels labelled alike after refinement, of each image; `seconds` per
        image of each way and their `ratio`; `memory` (None if not wanted): per way the bytes
        at the `peak`, at the `start` before the model was loaded, and `net` of that, and
        `share`, ours over the other's; `flops` per image of our way; `matmul_rate` and
        `rate`, both in FLOP per second, and `share` of the former that ours reaches;
        `provenance`.

    Raises:
        OvssError: See `ovsslib.bench.case.prepare`; or the model is not a BLIP.
    """
    given = {"repeats": repeats, "tolerance": tolerance, "matmul_size": matmul_size}
    check_types(given, {"repeats": Count, "tolerance": Amount | None, "matmul_size": Count | None})
    with same_threads():
        record = _timed(spec, repeats, tolerance, matmul_size)
    # Only now, when this process has given its memory back, do the other two begin.
    return record | {"memory": memory_of_both(spec) if memory else None}


def _timed(
    spec: Spec, repeats: int, tolerance: float | None, matmul_size: int | None
) -> dict[str, Any]:
    """All of `versus` that happens in this process."""
    case = prepare(spec)
    exact = case if spec == exactly(spec) else prepare(exactly(spec))
    device, dtype, count = device_of(case), getattr(torch, spec.dtype), len(case.images)
    # These runs warm up for the timed ones.
    reference, maps = full_graph.run(exact), ours(case, stages=True)
    limit = TOLERANCE[spec.dtype] if tolerance is None else tolerance
    agreement = compare(reference, maps, case.config.patches_per_round, limit)
    labels = same_labels(reference, maps, case.config)
    flops = _flops(spec) / count
    rates: list[float] = []
    calls: dict[str, Callable[[], object]] = {
        "everything": lambda: full_graph.run(exact),
        "ours": lambda: ours(case),
        "matmul": lambda: rates.append(matmul_rate(dtype, device, size=matmul_size)),
    }
    times = alternate(calls, repeats, device)
    rate, peak = count * flops / times["ours"], statistics.median(rates)
    return {
        "kind": "bench-salience",
        "settings": case.describe() | {"repeats": repeats, "threads": torch.get_num_threads()},
        "agreement": agreement.to_dict(),
        "labels": labels,
        "seconds": {way: times[way] / count for way in WAYS},
        "ratio": times["everything"] / times["ours"],
        "flops": flops,
        "flops_counted_by": "torch.utils.flop_counter",
        "rate": rate,
        "matmul_rate": peak,
        "share": rate / peak,
        "provenance": provenance(**compute_place(case.matcher)),
    }


def _flops(spec: Spec) -> int:
    """Of all images; compiled products cannot be counted."""
    return count_flops(partial(ours, prepare(dataclasses.replace(spec, compiled=False))))


def exactly(spec: Spec) -> Spec:
    """The same measurement as the full graph takes it: in float32."""
    return dataclasses.replace(spec, dtype="float32", compiled=False)


def memory_of_both(spec: Spec) -> dict[str, Any]:
    """Peak memory of each way in a process of its own; see `versus` for the fields."""
    # Worker processes use one thread unless they are given a number; these stand for this one.
    spec = dataclasses.replace(spec, threads=spec.threads or torch.get_num_threads())
    both: dict[str, Any] = {}
    for way in WAYS:
        (both[way],) = ordered(peak_memory, [(spec, way)], workers=1)
    return both | {"share": both["ours"]["net"] / both["everything"]["net"]}


def peak_memory(task: tuple[Spec, str]) -> dict[str, int]:
    """Peak memory of one way; meant for a process that has done nothing else.

    Args:
        task: What to measure, and one of `WAYS`.

    Returns:
        Bytes `start` (before the model is loaded), `peak` and `net`, their difference: the
        process's memory, or the memory allocated on the GPU where the model is on one.
    """
    spec, way = task
    start = resident(peak=False)
    case = prepare(exactly(spec) if way == "everything" else spec)
    full_graph.run(case) if way == "everything" else ours(case)
    if device_of(case).type == "cuda":
        start, peak = 0, torch.cuda.max_memory_allocated()
    else:
        peak = resident(peak=True)
    return {"start": start, "peak": peak, "net": peak - start}


def sweep(
    spec: Spec, batches: Sequence[int], *, repeats: int = 3, matmul_size: int | None = None
) -> dict[str, Any]:
    """Images per second by batch size: what a GPU makes of it.

    Args:
        spec: What to measure; `batch` is replaced, and `images` is the least number of
            images (rounded up to whole batches).
        batches: Batch sizes, each at least 1.
        repeats: Timed turns.
        matmul_size: See `ovsslib.bench.machine.matmul_rate`.

    Returns:
        `settings`, `matmul_rate` in FLOP per second, `flops` per image, `provenance`, and
        `rows`: per batch size `batch`, `images`, `salience` in images per second, `share` of the
        matmul rate that it reaches, and `peak`, the bytes allocated on a GPU (else None). A batch
        that does not fit into memory ends the list with a row that holds `error` instead.

    Raises:
        OvssError: See `ovsslib.bench.case.prepare`.
    """
    with same_threads():
        first = prepare(dataclasses.replace(spec, batch=1, images=1))
        device = device_of(first)
        rate = matmul_rate(getattr(torch, spec.dtype), device, size=matmul_size)
        flops = _flops(dataclasses.replace(spec, batch=1, images=1))
        rows: list[dict[str, Any]] = []
        for batch in batches:
            count = -(-(spec.images or batch) // batch) * batch
            images, classes = count * first.images, count * first.classes
            case = dataclasses.replace(first, images=images, classes=classes, batch=batch)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            try:
                ours(case)
                spent = statistics.median(
                    seconds(partial(ours, case), device) for _ in range(repeats)
                )
            except torch.OutOfMemoryError:
                rows.append({"batch": batch, "error": "out of memory"})
                break
            peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
            speed = count / spent
            row = {"batch": batch, "images": count, "salience": speed, "peak": peak}
            rows.append(row | {"share": speed * flops / rate})
        threads = torch.get_num_threads()
    settings = {k: v for k, v in first.describe().items() if k not in ("batch", "images")}
    return {
        "kind": "bench-batches",
        "settings": settings | {"repeats": repeats, "threads": threads},
        "rows": rows,
        "flops": flops,
        "flops_counted_by": "torch.utils.flop_counter",
        "matmul_rate": rate,
        "provenance": provenance(**compute_place(first.matcher)),
    }
