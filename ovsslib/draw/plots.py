"""Figures of results: label overlays, heat maps, panels of stages, and words that describe them.

Matplotlib is imported when a function is called. All figures have a solid white ground, so that
they can be read on dark pages too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ovsslib.draw.overlay import blend, found_classes, percent
from ovsslib.io.palette import class_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ovsslib.pnp.result import Segmentation


def alt_heatmap(values: np.ndarray, what: str) -> str:
    """Alternative text of a heat map: where it is highest.

    Args:
        values: (H, W) map.
        what: What it shows, such as `"attention of 'car'"`.

    Example:
        >>> alt_heatmap(np.eye(3)[:1], "attention of 'car'")
        "Heat map of attention of 'car', highest in the middle left."
    """
    height, width = values.shape
    row, column = np.unravel_index(int(np.nanargmax(values)), values.shape)
    vertical = ("upper", "middle", "lower")[int(3 * (row + 0.5) / height)]
    across = ("left", "centre", "right")[int(3 * (column + 0.5) / width)]
    return f"Heat map of {what}, highest in the {vertical} {across}."


def overlay(
    result: Segmentation, *, ax: Axes | None = None, alpha: float = 0.55, title: str | None = None
) -> Axes:
    """A segmentation over its image, with a legend of the classes found.

    Args:
        result: What a method returned.
        ax: Where to draw; None makes a figure.
        alpha: Weight of the colours, 0..1.
        title: Above the image.

    Returns:
        The axes.
    """
    return overlay_labels(
        result.image, result.labels, result.classes, ax=ax, alpha=alpha, title=title
    )


def overlay_labels(
    image: np.ndarray | Image.Image,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    ax: Axes | None = None,
    alpha: float = 0.55,
    title: str | None = None,
    most: int | None = None,
) -> Axes:
    """Any label map over its image, such as the ground truth (`label.astype(int) - 1`).

    Args:
        image: (H, W, 3) uint8, or a Pillow image.
        labels: (H, W) integers, index into `classes`, -1 background.
        classes: K names.
        ax: Where to draw; None makes a figure.
        alpha: Weight of the colours, 0..1.
        title: Above the image.
        most: Classes in the legend, those with the most pixels; None for all.

    Returns:
        The axes.
    """
    from matplotlib.patches import Patch

    ax = _axes(ax, np.asarray(image).shape)
    ax.imshow(blend(image, labels, alpha=alpha), interpolation="nearest")
    colours = class_colours(len(classes)) / 255
    found = found_classes(labels, classes)
    if most is not None:
        found = sorted(sorted(found, key=lambda item: -item[2])[:most])
    handles = [
        Patch(facecolor=colours[k], label=f"{name} {percent(share)}") for k, name, share in found
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
    alpha: float = 0.6,
) -> Axes:
    """A map in colours, over its image if that is given.

    Args:
        values: (h, w) map; stretched over the image when sizes differ.
        image: (H, W, 3) uint8, or a Pillow image.
        ax: Where to draw; None makes a figure.
        title: Above the map.
        limits: Values at the ends of the colour scale; None takes the map's own.
        alpha: Weight of the map over the image, 0..1.

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
        alpha=1.0 if image is None else alpha,
        extent=extent,
        interpolation="nearest",
    )
    return _bare(ax, title)


def panel(stages: Mapping[str, np.ndarray], *, columns: int = 4, width: float = 10.0) -> Figure:
    """Images and maps side by side, each under its name.

    Args:
        stages: Name -> (H, W, 3) uint8 image or (h, w) map, in order.
        columns: Most images in a row.
        width: Of the figure, in inches.

    Returns:
        The figure, white behind all of it.
    """
    from matplotlib.figure import Figure

    columns = max(1, min(columns, len(stages)))
    rows = -(-len(stages) // columns)
    first = next(iter(stages.values()))
    aspect = first.shape[0] / first.shape[1]
    height = rows * (width / columns * aspect + 0.35)
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for ax, (name, values) in zip(axes, stages.items(), strict=False):
        if values.ndim == 3:
            ax.imshow(values, interpolation="nearest")
            _bare(ax, name)
        else:
            heatmap(values, ax=ax, title=name)
    for ax in axes[len(stages) :]:
        ax.set_visible(False)
    return figure


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
