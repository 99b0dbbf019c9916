"""Speed and memory of Steps 2 to 4 (salience with dropout), and that the result is right."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ovsslib.bench import full_graph as everything
from ovsslib.bench.agreement import TOLERANCE, compare, same_labels
from ovsslib.bench.case import Spec, Work, prepare
from ovsslib.bench.machine import alternate, count_flops, matmul_rate
from ovsslib.bench.memory import resident
from ovsslib.errors import OvssError
from ovsslib.evaluate.pool import ordered
from ovsslib.evaluate.run import compute_place
from ovsslib.io.provenance import provenance
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.result import Maps

WAYS = ("everything", "ours")
"""Differentiating everything, and this library's pipeline."""
EXACT = "float32"
"""What the first way computes in."""


def ours(work: Work, *, stages: bool = False) -> list[Maps]:
    """The library's pipeline over all images: salience with dropout, no refinement."""
    model = PnPOVSS(work.matcher, work.config)
    found = []
    for pictures, classes in work.batches():
        found += model.maps(pictures, classes, stages=stages)
    return found


def place(work: Work) -> torch.device:
    """Where the model's weights are."""
    return torch.device(compute_place(work.matcher)["device"])


def versus(
    spec: Spec,
    *,
    repeats: int = 3,
    tolerance: float | None = None,
    memory: bool = True,
    matmul_size: int | None = None,
) -> dict[str, Any]:
    """Both ways on the same weights and images in one run: results, time, memory, FLOPs.

    The costly way always computes in float32, as code of its kind does; ours in what `spec` says.

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
        OvssError: See `ovsslib.bench.case.prepare`; or the model is no BLIP.
    """
    if repeats < 1:
        raise OvssError(f"repeats must be 1 or more, got {repeats}")
    record = _race(spec, repeats, tolerance, matmul_size)
    # Only now, when this process has given its memory back, do the other two begin.
    return record | {"memory": memory_of_both(spec) if memory else None}


def _race(
    spec: Spec, repeats: int, tolerance: float | None, matmul_size: int | None
) -> dict[str, Any]:
    """All of `versus` that happens in this process."""
    before = torch.get_num_threads()
    try:
        work = prepare(spec)
        exact = work if spec == exactly(spec) else prepare(exactly(spec))
        device, dtype, count = place(work), getattr(torch, spec.dtype), len(work.pictures)
        # These runs warm up for the timed ones.
        reference, found = everything.run(exact), ours(work, stages=True)
        limit = TOLERANCE[spec.dtype] if tolerance is None else tolerance
        agreement = compare(reference, found, work.config.patches_per_round, limit)
        labels = same_labels(reference, found, work.config)
        # Neither compiled nor packed products can be counted.
        plain = prepare(dataclasses.replace(spec, compiled=False, packed=False))
        flops = count_flops(partial(ours, plain)) / count
        del plain
        rates: list[float] = []
        calls: dict[str, Callable[[], object]] = {
            "everything": lambda: everything.run(exact),
            "ours": lambda: ours(work),
            "matmul": lambda: rates.append(matmul_rate(dtype, device, size=matmul_size)),
        }
        times = alternate(calls, repeats, device)
        threads = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    rate, peak = count * flops / times["ours"], statistics.median(rates)
    more = {"repeats": repeats, "threads": threads, "seed": spec.seed}
    return {
        "kind": "bench-salience",
        "settings": work.describe() | more,
        "agreement": agreement.to_dict(),
        "labels": labels,
        "seconds": {way: times[way] / count for way in WAYS},
        "ratio": times["everything"] / times["ours"],
        "flops": flops,
        "flops_counted_by": "torch.utils.flop_counter",
        "rate": rate,
        "matmul_rate": peak,
        "share": rate / peak,
        "provenance": provenance(**compute_place(work.matcher)),
    }


def exactly(spec: Spec) -> Spec:
    """The same measurement as the first of `WAYS` takes it."""
    return dataclasses.replace(spec, dtype=EXACT, compiled=False, packed=False)


def memory_of_both(spec: Spec) -> dict[str, Any]:
    """Peak memory of each way in a process of its own; see `versus` for the fields."""
    # Worker processes are told to use one thread; these stand for this one.
    spec = dataclasses.replace(spec, threads=spec.threads or torch.get_num_threads())
    found: dict[str, Any] = {}
    for way in WAYS:
        (found[way],) = ordered(peak_memory, [(spec, way)], workers=1)
    return found | {"share": found["ours"]["net"] / found["everything"]["net"]}


def peak_memory(task: tuple[Spec, str]) -> dict[str, int]:
    """Peak memory of one way; meant for a process that has done nothing else.

    Args:
        task: What to measure, and one of `WAYS`.

    Returns:
        Bytes `start` (before the model is loaded), `peak` and `net`, their difference: the
        process's memory, or the memory allocated on the GPU where the model is on one.
    """
    spec, way = task
    spec = exactly(spec) if way == "everything" else spec
    start = resident(peak=False)
    work = prepare(spec)
    device = place(work)
    everything.run(work) if way == "everything" else ours(work)
    if device.type == "cuda":
        start, peak = 0, torch.cuda.max_memory_allocated(device)
    else:
        peak = resident(peak=True)
    return {"start": start, "peak": peak, "net": peak - start}
