"""How well a class filter knows what is in the images: precision and recall of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.filters.base import ClassFilter, Oracle, as_row

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.types import Progress


def score_filter(
    class_filter: ClassFilter,
    dataset: Dataset,
    names: Sequence[str],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare a filter's classes with those in the label maps, however few their pixels.

    Args:
        class_filter: The filter.
        dataset: Where images and label maps are.
        names: Names of the images.
        progress: Shows progress; None for silence.

    Returns:
        Figures in 0..1, None where one is not defined: `precision`, `recall` and `f1` over all
        pairs of image and class; `exact`, the share of images whose classes are all right. Also
        `images`; `named` and `true`, mean classes per image by the filter and in the label maps;
        `classes`: name -> `precision`, `recall`, `named` and `true` (images); and `failed`: image
        -> why it could not be read, or why the filter knows nothing about it.

    Raises:
        OvssError: No image could be scored.
    """
    class_filter.prepare(dataset, names, progress)
    oracle = Oracle()
    failed: dict[str, str] = {}
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for name in progress(names, "scoring", len(names)) if progress else names:
        try:
            labels = class_filter(dataset, name), oracle(dataset, name)
        except OvssError as error:
            failed[name] = str(error)
        else:
            rows.append((as_row(labels[0], dataset), as_row(labels[1], dataset)))
    if not rows:
        reason = next(iter(failed.values()), "there is none")
        raise OvssError(f"no image of {dataset.name} could be scored: {reason}")
    named, truth = (np.stack(table) for table in zip(*rows, strict=True))
    hits = named & truth
    columns = (table.sum(0).tolist() for table in (hits, named, truth))
    return {
        "images": len(rows),
        **_figures(int(hits.sum()), int(named.sum()), int(truth.sum())),
        "f1": _ratio(2 * int(hits.sum()), int(named.sum() + truth.sum())),
        "exact": float((named == truth).all(1).mean()),
        "named": int(named.sum()) / len(rows),
        "true": int(truth.sum()) / len(rows),
        "classes": {
            name: {**_figures(*counts), "named": counts[1], "true": counts[2]}
            for name, *counts in zip(dataset.classes, *columns, strict=True)
        },
        "failed": failed,
    }


def _figures(hits: int, named: int, true: int) -> dict[str, float | None]:
    return {"precision": _ratio(hits, named), "recall": _ratio(hits, true)}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
