"""What number types cost in labels and save in time, on Diorama's images.

A faster type is kept as an offer only where it labels at least 99 % of the pixels as float32 does.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.bench.agreement import KEPT
from ovsslib.errors import OvssError
from ovsslib.io.provenance import provenance

if TYPE_CHECKING:
    from ovsslib.pnp.pipeline import PnPOVSS
    from ovsslib.pnp.result import Maps

EXACT = "float32"
SPLIT = "tune"


def _all_maps(model: PnPOVSS, calls: Sequence[Any], found: list[Maps]) -> None:
    for call in calls:
        found.extend(model.maps(*call))


def precisions(
    vlm: str,
    dtypes: Sequence[str],
    images: int,
    *,
    batch: int = 1,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Labels of the whole pipeline in several number types against those in float32.

    Args:
        vlm: Model: a name, a folder or a hub id.
        dtypes: Types to try, see `ovsslib.vlm.load_vlm`.
        images: Images of Diorama's tune split, told their classes.
        batch: Images in one pass of the model.
        device: Of the model; None takes a GPU where there is one.
        threads: Threads of torch; None leaves them as they are.

    Returns:
        `settings`; `rows`, float32 first: `dtype`, `seconds` of salience per image,
        `ratio` of float32's to them, `labels` (mean share of pixels labelled as in float32),
        `worst` (that of the worst image), `kept` (whether the mean is enough);
        `provenance`.

    Raises:
        OvssError: The model, a type or the images cannot be had.
    """
    import torch

    from ovsslib.bench.machine import seconds
    from ovsslib.evaluate.run import compute_place
    from ovsslib.evaluate.spec import Execution, Log
    from ovsslib.evaluate.task import batches, task
    from ovsslib.pnp.pipeline import build
    from ovsslib.pnp.refine import refine_maps

    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        log, work = Log(), task("diorama", split=SPLIT, limit=images)
        parts = list(batches(work, Execution(batch), log))
        failed = log.failed
        if failed:
            raise OvssError(f"{len(failed)} images cannot be read: {next(iter(failed.values()))}")
        calls = [([p.image for p in part], [p.classes for p in part]) for part in parts]
        exact: list[np.ndarray] = []
        rows: list[dict[str, Any]] = []
        for dtype in dict.fromkeys([EXACT, *dtypes]):
            model = build(vlm, device=device, dtype=dtype)
            where = torch.device(compute_place(model.matcher)["device"])
            model.maps(*calls[0])  # warms up
            found: list[Maps] = []
            spent = seconds(partial(_all_maps, model, calls, found), where)
            labels = [refine_maps(maps, model.config).labels for maps in found]
            exact = exact or labels
            same = [float((a == b).mean()) for a, b in zip(exact, labels, strict=True)]
            rows.append(
                {
                    "dtype": dtype,
                    "seconds": spent / len(labels),
                    "ratio": rows[0]["seconds"] * len(labels) / spent if rows else 1.0,
                    "labels": statistics.mean(same),
                    "worst": min(same),
                    "kept": statistics.mean(same) >= KEPT,
                }
            )
        used = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    return {
        "kind": "bench-precision",
        "settings": {
            "vlm": model.matcher.name,
            "config": model.config.to_dict(),
            "dataset": "diorama",
            "split": SPLIT,
            "images": len(exact),
            "batch": batch,
            "threads": used,
        },
        "rows": rows,
        "provenance": provenance(device=compute_place(model.matcher)["device"]),
    }
