"""Speed of the whole pipeline beside that of salience alone: what refinement costs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch

from ovsslib.bench.case import PHOTO, Case, Spec, class_names, prepare, synthetic_image
from ovsslib.bench.machine import alternate
from ovsslib.bench.salience import device_of, ours, same_threads
from ovsslib.densecrf.shared import lattices, lattices_elsewhere
from ovsslib.evaluate.run import compute_place
from ovsslib.evaluate.stages import in_batches
from ovsslib.io.pool import close, ordered
from ovsslib.io.provenance import provenance
from ovsslib.lookup import Count, Range, Workers, check_names, check_types
from ovsslib.pnp.batched import labels_of
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.result import Maps

BACKENDS = ("pydensecrf", "torch")
"""Of the CRF: with `torch` the whole refinement runs on the model's device."""
ALIKE = 0.9995
"""Share of pixels that both backends must label alike, given the same maps."""
CHECKED = 2
"""Images on which they are compared."""


def labels(task: tuple[Maps, PnPConfig]) -> np.ndarray:
    """Labels of one image; meant for a worker process."""
    return refine_maps(*task).labels


def whole(case: Case, refiners: int) -> list[np.ndarray]:
    """Labels of all images, made as `ovss run` makes them.

    Args:
        case: What to segment.
        refiners: Processes that refine beside the model, unless whole batches are refined at once.
    """
    model = PnPOVSS(case.matcher, case.config)
    # Lattices of an earlier turn would be found again: here all images are new.
    lattices.clear()
    lattices_elsewhere.clear()
    batches = (model.maps(*batch) for batch in case.batches())
    if in_batches(case.config, model.device):
        done = (labels_of(maps, case.config, model.device) for maps in batches)
        return [one for batch in done for one in batch]
    tasks = ((one, case.config) for maps in batches for one in maps)
    return list(ordered(labels, tasks, refiners, keep=True))


def pipeline(
    spec: Spec,
    batches: Sequence[int],
    classes: Sequence[int],
    sizes: Sequence[tuple[int, int]] = (PHOTO,),
    *,
    backends: Sequence[str] = BACKENDS,
    refiners: int = 0,
    repeats: int = 3,
) -> dict[str, Any]:
    """Images per second of salience alone and of the whole pipeline, in one run.

    Args:
        spec: What to measure; `batch` and `classes` are replaced, and `images` is the least number
            of images (rounded up to whole batches).
        batches: Batch sizes.
        classes: Numbers of class names per image.
        sizes: Widths and heights of the images in pixels.
        backends: Of the CRF, some of `BACKENDS`.
        refiners: Processes that refine beside the model, where not whole batches are refined.
        repeats: Timed turns; each times salience and every backend.

    Returns:
        `settings`, `provenance`, and `rows`: `size` ("500x375"), `classes`, `batch`, `crf`,
        `images`; `salience` and `pipeline` in images per second; `share` of the pipeline's time
        that refinement takes; `alike`, the share of pixels labelled as by pydensecrf, in the worst
        of a few images. A batch that does not fit into memory has a row that holds `error` instead.

    Raises:
        OvssError: See `ovsslib.bench.case.prepare`; a backend is unknown, or a number out of range.
    """
    sides = [side for size in sizes for side in size]
    given = {"batches": batches, "classes": classes, "sizes": sides}
    check_types(given, dict.fromkeys(given, Annotated[list[Count], Range(1)]))
    numbers = {"refiners": refiners, "repeats": repeats}
    check_types(numbers, {"refiners": Workers, "repeats": Count})
    check_names("backend", backends, BACKENDS)
    with same_threads():
        first = prepare(dataclasses.replace(spec, batch=1, images=1))
        rows: list[dict[str, Any]] = []
        try:
            for size, count, batch in itertools.product(sizes, classes, batches):
                case = _case(first, size, count, batch, spec.images or batch)
                what = {"size": f"{size[0]}x{size[1]}", "classes": count, "batch": batch}
                try:
                    rows += [what | row for row in _rows(case, backends, refiners, repeats)]
                except torch.OutOfMemoryError:
                    rows.append(what | {"error": "out of memory"})
        finally:
            close()
        threads = torch.get_num_threads()
    settings = {
        key: value
        for key, value in first.describe().items()
        if key not in ("batch", "classes", "images")
    }
    return {
        "kind": "bench-pipeline",
        "settings": settings
        | {
            "config": first.config.to_dict(),
            "refiners": refiners,
            "repeats": repeats,
            "threads": threads,
        },
        "rows": rows,
        "provenance": provenance(**compute_place(first.matcher)),
    }


def _case(first: Case, size: tuple[int, int], classes: int, batch: int, images: int) -> Case:
    """The same model on so many images or more, in whole batches."""
    numbers = range(-(-images // batch) * batch)
    return dataclasses.replace(
        first,
        images=[synthetic_image(number, size) for number in numbers],
        classes=[class_names(classes, number) for number in numbers],
        batch=batch,
    )


def _rows(
    case: Case, backends: Sequence[str], refiners: int, repeats: int
) -> Iterator[dict[str, Any]]:
    """What each backend takes."""
    cases = {
        name: dataclasses.replace(case, config=case.config.replace(crf=True, crf_backend=name))
        for name in backends
    }
    calls: dict[str, Callable[[], object]] = {"salience": partial(ours, case)}
    for name, one in cases.items():
        calls[name] = partial(whole, one, refiners)
    alternate(calls, 1, device_of(case))  # warms up
    times = alternate(calls, repeats, device_of(case))
    alike = _alike(case, cases)
    count = len(case.images)
    for name in backends:
        yield {
            "crf": name,
            "images": count,
            "salience": count / times["salience"],
            "pipeline": count / times[name],
            "share": 1 - times["salience"] / times[name],
            "alike": alike[name],
        }


def _alike(case: Case, cases: dict[str, Case]) -> dict[str, float]:
    """Share of pixels that each backend labels as pydensecrf does, given the same maps."""
    model = PnPOVSS(case.matcher, case.config)
    maps = model.maps(case.images[:CHECKED], case.classes[:CHECKED])
    exact = case.config.replace(crf=True, crf_backend="pydensecrf")
    wanted = [refine_maps(one, exact).labels for one in maps]
    shares = {}
    for name, other in cases.items():
        drawn = PnPOVSS(other.matcher, other.config).refine(maps)
        pairs = zip(drawn, wanted, strict=True)
        shares[name] = min(float((one.labels == two).mean()) for one, two in pairs)
    return shares
