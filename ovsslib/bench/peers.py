"""What segmentation costs: every method's time, memory and parameters, on the same images.

A method is measured as it is used, by `segment_batch`: preparing the images, the networks, and
whatever makes labels of their answers (for PnP-OVSS rounds and CRF too). Many methods encode a name
once and keep it, and ReCo what it has retrieved for it; that happens while they warm up, and is not
in the times.
"""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

import ovsslib
from ovsslib.bench.machine import seconds
from ovsslib.bench.memory import resident
from ovsslib.bench.random_peers import METHODS as RANDOM
from ovsslib.bench.random_peers import random_method
from ovsslib.bench.salience import same_threads
from ovsslib.errors import OvssError
from ovsslib.evaluate.fetch import find_models
from ovsslib.evaluate.run import compute_place, model_label
from ovsslib.evaluate.spec import RunSpec
from ovsslib.evaluate.task import Sample, Task, make_task
from ovsslib.io.pool import ordered
from ovsslib.io.provenance import provenance
from ovsslib.lookup import Count, Threads, check_fields, check_names
from ovsslib.methods import METHODS
from ovsslib.types import Progress

ALIKE = 0.999
"""Least share of pixels whose label must not depend on the batch."""
FIRST = "pnp-ovss"
"""The method that the others' times are compared with."""
_LIBRARIES = ("open_clip", "timm", "transformers")
_FILTERS = {"all": "all", "present": "oracle"}


@dataclass(frozen=True)
class Spec:
    """A measurement as plain data, so that another process can make it.

    Attributes:
        method: Name of the method.
        vlm: Its model; None for the method's own.
        random: Whether its models have random weights, see `ovsslib.bench.random_peers`.
        images: Images of Diorama val, the first of them.
        batch: Images in one call.
        classes: `"all"` names of the data set, or those `"present"` in the image.
        repeat: Timed turns.
        memory: Whether memory is measured.
        device: Such as `"cpu"`; None takes a GPU where there is one.
        threads: Threads of torch; None leaves them as they are.

    Raises:
        OvssError: A value is of another type or out of range, or excludes another.
    """

    method: str = FIRST
    vlm: str | None = None
    random: bool = False
    images: Count = 8
    batch: Count = 4
    classes: Literal["all", "present"] = "all"
    repeat: Count = 3
    memory: bool = True
    device: str | None = None
    threads: Threads | None = None

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)
        if self.random and self.vlm is not None:
            raise OvssError("random models have the published size; leave the model out")


def peers(
    spec: Spec,
    methods: Sequence[str] = (),
    progress: Progress | None = None,
    keep: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Measure methods one after another, each in a new process where memory is measured.

    Args:
        spec: What to measure; its method is replaced.
        methods: Their names; none for all there are (with `random`, all that have random models).
        progress: Shows progress; None for silence.
        keep: Gets what is returned after every method: large models take minutes each.

    Returns:
        `settings`; `rows`, of each method that could be measured `method`, `vlm`, `seconds` per
        image, `rate` in images per second, `ratio` of its seconds to those of the first row,
        `memory` as `measure` gives it, `parameters`, and `labels`, the share of pixels whose label
        does not depend on the batch; `missing`, why other methods could not be measured;
        `same_labels`, whether all rows' `labels` reach `ALIKE`; `provenance`.

    Raises:
        OvssError: A name is unknown, or the images cannot be read.
    """
    known = RANDOM if spec.random else tuple(METHODS)
    check_names("method with a random model" if spec.random else "method", methods, known)
    chosen = list(dict.fromkeys(methods or known))
    chosen.sort(key=lambda method: method != FIRST)
    count = len(task_of(spec).ids)
    with same_threads():
        if spec.threads is not None:
            torch.set_num_threads(spec.threads)
        # Worker processes use one thread unless they are given a number; these stand for this one.
        spec = replace(spec, threads=torch.get_num_threads())
        rows: list[dict[str, Any]] = []
        missing: dict[str, str] = {}
        for method in progress(chosen, "methods", len(chosen)) if progress else chosen:
            try:
                rows.append(_measured(replace(spec, method=method)))
            except OvssError as error:
                missing[method] = str(error)
            except torch.OutOfMemoryError:
                missing[method] = "out of memory"
            if keep is not None and rows:
                keep(_record(spec, count, rows, missing))
    return _record(spec, count, rows, missing)


def _record(
    spec: Spec, count: int, rows: Sequence[dict[str, Any]], missing: dict[str, str]
) -> dict[str, Any]:
    """What `peers` returns, of the methods measured so far."""
    settings = asdict(spec) | {"dataset": "diorama val", "images": count}
    for key in ("method", "device", *(["vlm"] if spec.vlm is None else [])):
        del settings[key]
    return {
        "kind": "bench-peers",
        "settings": settings,
        "rows": [
            {key: value for key, value in row.items() if key != "place"}
            | {"ratio": row["seconds"] / rows[0]["seconds"]}
            for row in rows
        ],
        "missing": missing,
        "same_labels": all(row["labels"] >= ALIKE for row in rows),
        "provenance": provenance(**(rows[0]["place"] if rows else {})),
    }


def _measured(spec: Spec) -> dict[str, Any]:
    """`measure`, in a process that has done nothing else where memory is measured."""
    if not spec.random:  # before a process is started for a model that is not here
        find_models(RunSpec(method=spec.method, vlm=spec.vlm or ""))
    if not spec.memory:
        return measure(spec)
    (row,) = ordered(measure, [spec], workers=1)
    return row


def task_of(spec: Spec) -> Task:
    """The images, and which names are looked for in each."""
    return make_task("diorama", filter=_FILTERS[spec.classes], limit=spec.images)


def measure(spec: Spec) -> dict[str, Any]:
    """Measure one method.

    Args:
        spec: What to measure.

    Returns:
        A row of `peers` without its `ratio`, and `place`, the model's device and number type.
        `memory` is None, or bytes: those at the peak of the batches less those at the start, when
        images were read and libraries imported but no model loaded; of the process, or allocated on
        the GPU where the model is on one.

    Raises:
        OvssError: The method cannot be built, or the system reports no memory.
    """
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    task = task_of(spec)
    samples = [task.read(name) for name in task.ids]
    for library in (*_LIBRARIES, METHODS[spec.method].partition(":")[0]):
        importlib.import_module(library)
    start = resident(peak=False) if spec.memory else 0
    if spec.random:
        model = random_method(spec.method, spec.device)
    else:
        options = {} if spec.vlm is None else {"vlm": spec.vlm}
        model = ovsslib.load(spec.method, device=spec.device, **options)
    place = compute_place(model.matcher)
    device = torch.device(place["device"])
    together = segment(model, samples, spec.batch)  # warms up
    spent = [
        seconds(partial(segment, model, samples, spec.batch), device) for _ in range(spec.repeat)
    ]
    memory = _memory(start, device) if spec.memory else None
    alone = segment(model, samples, 1) if spec.batch > 1 else together
    each = statistics.median(spent) / len(samples)
    return {
        "method": spec.method,
        "vlm": model_label(model.matcher),
        "seconds": each,
        "rate": 1 / each,
        "memory": memory,
        "parameters": parameters(model),
        "labels": same_share(together, alone),
        "place": place,
    }


def _memory(start: int, device: torch.device) -> int:
    """Peak memory up to now; see `measure`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resident(peak=True) - start


def segment(model: Any, samples: Sequence[Sample], batch: int) -> list[np.ndarray]:
    """Labels (H, W) of all images, so many in one call."""
    labels = []
    for start in range(0, len(samples), batch):
        some = samples[start : start + batch]
        found = model.segment_batch([one.image for one in some], [one.classes for one in some])
        labels += [one.labels for one in found]
    return labels


def same_share(ones: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """Share of pixels, over all images, that have the same label.

    Example:
        >>> same_share([np.array([1, 2, 2]), np.array([0])], [np.array([1, 2, 0]), np.array([0])])
        0.75
    """
    pairs = list(zip(ones, others, strict=True))
    return float(sum((a == b).sum() for a, b in pairs) / sum(a.size for a, _ in pairs))


def parameters(method: Any) -> int:
    """Parameters of all networks that a method holds, each counted once."""
    found: dict[int, int] = {}
    seen: set[int] = set()
    waiting = [method]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.nn.Module):
            found |= {id(weight): weight.numel() for weight in thing.parameters()}
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, list | tuple):
            waiting += thing
        elif type(thing).__module__.partition(".")[0] == "ovsslib":
            waiting += vars(thing).values()
    return sum(found.values())
