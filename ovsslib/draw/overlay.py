"""Class colours over an image with a legend, drawn with Pillow alone: no slow import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ovsslib.draw.colours import class_colours
from ovsslib.io.palette import ink

_LEAST_SIDE, _MOST_SIDE = 480, 1600
ALPHA = 0.55
"""Weight of the class colours over the image, 0..1."""


def blend(
    image: np.ndarray | Image.Image,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    alpha: float = ALPHA,
) -> np.ndarray:
    """Lay class colours over an image, with white lines between regions.

    Args:
        image: (H, W, 3) uint8, or a Pillow image.
        labels: (H, W) integers, index into the classes, -1 background (left clear).
        classes: K names, which decide the colours.
        alpha: Weight of the colours, 0..1.

    Returns:
        (H, W, 3) uint8.

    Example:
        >>> blend(np.zeros((1, 2, 3)), np.array([[0, 0]]), ["water"], alpha=0.5)[0, 0].tolist()
        [0, 57, 89]
    """
    out = np.array(image, np.float32)
    colours = class_colours(classes).astype(np.float32)
    inside = labels >= 0
    out[inside] = (1 - alpha) * out[inside] + alpha * colours[labels[inside]]
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    out[edge] = 255
    return out.round().astype(np.uint8)


def overlay_image(
    image: np.ndarray | Image.Image, labels: np.ndarray, classes: Sequence[str]
) -> Image.Image:
    """Overlay with a legend of the classes found, drawn with Pillow.

    Small images are enlarged and large ones reduced, so that the legend can be read.

    Args:
        image: (H, W, 3) uint8, or a Pillow image.
        labels: (H, W) integers, index into `classes`, -1 background.
        classes: K names.

    Returns:
        RGB image: the overlay, and below it on white the legend with each class's share.
    """
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    scale = min(max(_LEAST_SIDE / max(image.size), 1.0), 32.0)
    scale = min(scale, _MOST_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    labels = labels.astype(np.int32)
    if size != image.size:
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        image = image.resize(size, Image.Resampling.BICUBIC)
    top = Image.fromarray(blend(image, labels, classes))
    legend = _legend(labels, classes, max(top.width, 240))
    sheet = Image.new("RGB", (max(top.width, legend.width), top.height + legend.height), "white")
    sheet.paste(top, (0, 0))
    sheet.paste(legend, (0, top.height))
    return sheet


def _legend(labels: np.ndarray, classes: Sequence[str], width: int) -> Image.Image:
    """Chips with name and share, wrapped to the width."""
    font, pad, row = ImageFont.load_default(size=15), 8, 26
    chips = [(f"{name} {percent(share)}", k) for k, name, share in found_classes(labels, classes)]
    chips = chips or [("no class found", -1)]
    boxes, x, y = [], pad, pad
    for words, k in chips:
        text = _fitted(words, font, width - 3 * pad)
        length = int(font.getlength(text)) + 2 * pad
        if x > pad and x + length + pad > width:
            x, y = pad, y + row + pad
        boxes.append((x, y, length, text, k))
        x += length + pad
    sheet = Image.new("RGB", (width, y + row + pad), "white")
    draw = ImageDraw.Draw(sheet)
    colours = class_colours(classes)
    for left, top, length, text, k in boxes:
        colour = colours[k] if k >= 0 else np.array([255, 255, 255])
        box = (left, top, left + length, top + row)
        draw.rounded_rectangle(box, radius=4, fill=tuple(colour.tolist()))
        middle = (left + pad, top + row // 2)
        draw.text(middle, text, fill=ink(colour), font=font, anchor="lm")
    return sheet


def _fitted(text: str, font: Any, width: int) -> str:
    """The text, cut with dots where it is too long."""
    cut = text
    while len(cut) > 1 and font.getlength(cut) > width:
        cut = cut[:-2] + "…"
    return cut


def shares(labels: np.ndarray, n: int) -> np.ndarray:
    """Share of the image of each class.

    Args:
        labels: (H, W) integers, -1 background.
        n: Number of classes K.

    Returns:
        (K + 1,) float64, background first; sums to 1.

    Example:
        >>> shares(np.array([[0, 0, 1, -1]]), 2).tolist()
        [0.25, 0.5, 0.25]
    """
    return np.bincount(labels.ravel().astype(np.int64) + 1, minlength=n + 1) / labels.size


def found_classes(labels: np.ndarray, classes: Sequence[str]) -> list[tuple[int, str, float]]:
    """Index, name and share of the classes that have pixels, in the order of the classes."""
    share = shares(labels, len(classes))[1:]
    return [(k, name, share[k]) for k, name in enumerate(classes) if share[k] > 0]


def percent(share: float) -> str:
    """A share in whole per cent.

    Example:
        >>> percent(0.346), percent(0.002)
        ('35 %', '< 1 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"
