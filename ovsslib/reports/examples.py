"""Segment a few pictures of a run again, to look at them: a run keeps counts, not label maps."""

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
    from ovsslib.evaluate.task import Picture, Task


@dataclass(frozen=True)
class Seen:
    """One image with both its label maps.

    Attributes:
        name: Of the image.
        image: (H, W, 3) uint8.
        truth: (H, W) data-set labels, 0 background, 255 not scored.
        labels: (H, W) data-set labels that the method gave, 0 background.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    labels: np.ndarray


def revisit(model: Any, work: Task, names: Sequence[str]) -> list[Seen]:
    """Segment images as the run did: same classes looked for, same windows, same rules.

    Args:
        model: The run's method.
        work: The run's images and protocol.
        names: Of the images.

    Returns:
        One entry per name, in order.

    Raises:
        OvssError: An image cannot be read.
    """
    looks = work.looks
    if hasattr(looks, "use"):
        looks.use(getattr(model, "matcher", None))
    if hasattr(looks, "prepare"):
        looks.prepare(work.dataset, tuple(names), None)
    found = []
    for name in names:
        picture = work.read(name)
        labels = _labels(model, work, picture)
        said, true, _ = work.protocol.compared(labels, picture.looked_for, picture.truth)
        found.append(Seen(name, np.asarray(picture.image), true, said))
    return found


def _labels(model: Any, work: Task, picture: Picture) -> np.ndarray:
    """(H, W) labels into the names that the method was given, -1 for background."""
    config = model.config
    if not isinstance(config, PnPConfig):
        seeing = windowed(model, work.protocol, work.dataset)
        return seeing.segment_batch([picture.image], [picture.classes])[0].labels
    (maps,) = window_maps(model, [picture.image], [picture.classes], work.protocol.window)
    rule = work.protocol.background(work.dataset)
    return refine_maps(maps, config.replace(background=rule)).labels
