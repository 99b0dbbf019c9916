"""Label overlays and heat maps with matplotlib.

Matplotlib is imported when a function is called. All figures have a solid white background, so
that they can be read on dark pages too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ovsslib.draw.colours import class_colours
from ovsslib.draw.overlay import ALPHA, blend, found_classes, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEATMAP_ALPHA = 0.6
"""Weight of a heat map over its image, 0..1."""


def overlay(
    image: np.ndarray | Image.Image,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    alpha: float = ALPHA,
    most: int | None = None,
) -> Axes:
    """Draw a label map over its image, with a legend of the classes that have pixels.

    Args:
        image: (H, W, 3) uint8, or a Pillow image.
        labels: (H, W) integers, index into `names`, -1 background. A data set's ground truth
            is drawn as `label.astype(int) - 1`.
        names: K class names.
        ax: Where to draw; None makes a figure.
        title: Above the image.
        alpha: Weight of the colours, 0..1.
        most: Classes in the legend, those with the most pixels; None for all.

    Returns:
        The axes.
    """
    from matplotlib.patches import Patch

    ax = _axes(ax, np.asarray(image).shape)
    ax.imshow(blend(image, labels, names, alpha=alpha), interpolation="nearest")
    colours = class_colours(names) / 255
    shown = found_classes(labels, names)
    if most is not None:
        shown = sorted(sorted(shown, key=lambda item: -item[2])[:most])
    handles = [
        Patch(facecolor=colours[k], label=f"{name} {percent(share)}") for k, name, share in shown
    ]
    if handles:
        # As many columns as the axes are wide for, or the layout would shrink the image instead.
        inches = ax.get_window_extent().width / ax.figure.dpi
        columns = max(1, min(3, len(handles), int(inches / 1.25)))
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.02), "ncol": columns}
        style = {"handlelength": 1.0, "columnspacing": 1.0, "handletextpad": 0.5}
        ax.legend(handles=handles, fontsize="x-small", frameon=False, **place, **style)
    return _bare(ax, title)


def heatmap(
    values: np.ndarray,
    *,
    image: np.ndarray | Image.Image | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a map in colours, over its image if that is given.

    Args:
        values: (h, w) map; stretched over the image when sizes differ.
        image: (H, W, 3) uint8, or a Pillow image.
        ax: Where to draw; None makes a figure.
        title: Above the map.
        limits: Values at the ends of the colour scale; None takes the map's own.

    Returns:
        The axes.
    """
    shape = values.shape if image is None else np.asarray(image).shape
    ax = _axes(ax, shape)
    extent = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    if image is not None:
        ax.imshow(np.asarray(image), extent=extent)
    low, high = limits if limits is not None else (None, None)
    ax.imshow(
        values,
        cmap="magma",
        vmin=low,
        vmax=high,
        alpha=1.0 if image is None else HEATMAP_ALPHA,
        extent=extent,
        interpolation="nearest",
    )
    return _bare(ax, title)


def _axes(ax: Axes | None, shape: tuple[int, ...]) -> Axes:
    """The given axes, or those of a new white figure in the image's proportions."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    height = float(np.clip(5.0 * shape[0] / shape[1], 2.0, 8.0))
    return plt.subplots(figsize=(5.0, height), facecolor="white", layout="constrained")[1]


def _bare(ax: Axes, title: str | None) -> Axes:
    """Axes without ticks and frame."""
    ax.set_axis_off()
    if title:
        ax.set_title(title, fontsize="small")
    return ax
