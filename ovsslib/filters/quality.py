"""How well a class filter knows what is in the images: precision and recall of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.filters.base import ClassFilter, Oracle

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.types import Progress


@dataclass(frozen=True)
class FilterScore:
    """A filter's classes against those in the label maps.

    Attributes:
        classes: C names.
        ids: Of the B images that were scored.
        named: (B, C) bool, what the filter says.
        truth: (B, C) bool, what the label maps hold.
        failed: Image -> why it was not scored.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    named: np.ndarray
    truth: np.ndarray
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Figures, 0..1; None where a figure is not defined.

        Returns:
            `precision`, `recall` and `f1` over all pairs of image and class; `exact`, the
            share of images whose classes are all right; `named` and `true`, mean classes per
            image; `images`; `failed`; and `classes`: name -> `precision`, `recall`,
            `named` and `true` (images).
        """
        hits = self.named & self.truth
        found, named, true = (int(table.sum()) for table in (hits, self.named, self.truth))
        columns = (hits.sum(0), self.named.sum(0), self.truth.sum(0))
        return {
            "images": len(self.ids),
            "precision": _ratio(found, named),
            "recall": _ratio(found, true),
            "f1": _ratio(2 * found, named + true),
            "exact": float((self.named == self.truth).all(1).mean()),
            "named": named / len(self.ids),
            "true": true / len(self.ids),
            "classes": {
                name: {
                    "precision": _ratio(int(h), int(n)),
                    "recall": _ratio(int(h), int(t)),
                    "named": int(n),
                    "true": int(t),
                }
                for name, h, n, t in zip(self.classes, *columns, strict=True)
            },
            "failed": self.failed,
        }


def score_filter(
    class_filter: ClassFilter,
    dataset: Dataset,
    names: Sequence[str],
    progress: Progress | None = None,
) -> FilterScore:
    """Compare a filter's classes with those in the label maps, however few their pixels.

    Args:
        class_filter: The filter.
        dataset: Where images and label maps are.
        names: Of the images.
        progress: Shows progress; None for silence.

    Returns:
        The comparison; images that cannot be read, or that the filter knows nothing of, stand in
        `failed`.

    Raises:
        OvssError: No image could be scored.
    """
    oracle = Oracle()
    class_filter.prepare(dataset, names, progress)
    failed: dict[str, str] = {}
    ids: list[str] = []
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for name in progress(names, "scoring", len(names)) if progress else names:
        try:
            pair = (
                _row(class_filter(dataset, name), dataset),
                _row(oracle(dataset, name), dataset),
            )
        except OvssError as error:
            failed[name] = str(error)
            continue
        ids.append(name)
        rows.append(pair)
    if not rows:
        reason = next(iter(failed.values()), "there is none")
        raise OvssError(f"no image of {dataset.name} could be scored: {reason}")
    named, truth = (np.stack(table) for table in zip(*rows, strict=True))
    return FilterScore(tuple(dataset.classes), tuple(ids), named, truth, failed)


def _row(labels: Sequence[int], dataset: Dataset) -> np.ndarray:
    row = np.zeros(len(dataset.classes), bool)
    row[[k - 1 for k in labels]] = True
    return row


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
