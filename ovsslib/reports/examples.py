"""Segment some images of a run again, to look at them: a run keeps counts, not label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.refine import refine_maps
from ovsslib.protocols.adapter import windowed
from ovsslib.protocols.windows import window_maps

if TYPE_CHECKING:
    from ovsslib.evaluate.task import Sample, Task


@dataclass(frozen=True)
class Example:
    """One image with both its label maps.

    Attributes:
        name: Of the image.
        image: (H, W, 3) uint8.
        truth: (H, W) data-set labels, 0 background, 255 not scored.
        labels: (H, W) data-set labels that the method predicted, 0 background.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    labels: np.ndarray


def segment_again(model: Any, task: Task, names: Sequence[str]) -> list[Example]:
    """Segment images as the run did: with the same classes, windows and rules.

    Args:
        model: The run's method.
        task: The run's images and protocol.
        names: Of the images.

    Returns:
        One entry per name, in order.

    Raises:
        OvssError: An image cannot be read.
    """
    if hasattr(model, "matcher"):
        task.class_filter.use(model.matcher)
    task.class_filter.prepare(task.dataset, tuple(names))
    examples = []
    for name in names:
        item = task.read(name)
        labels = _labels(model, task, item)
        predicted, truth, _ = task.protocol.compared(labels, item.looked_for, item.truth)
        examples.append(Example(name, np.asarray(item.image), truth, predicted))
    return examples


def _labels(model: Any, task: Task, item: Sample) -> np.ndarray:
    """(H, W) labels into the names that the method was given, -1 for background."""
    config = model.config
    if not isinstance(config, PnPConfig):
        adapter = windowed(model, task.protocol, task.dataset)
        return adapter.segment_batch([item.image], [item.classes])[0].labels
    (maps,) = window_maps(model, [item.image], [item.classes], task.protocol.window)
    rule = task.protocol.background(task.dataset)
    return refine_maps(maps, config.replace(background=rule)).labels
