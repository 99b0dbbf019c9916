"""Sliding windows: an image is resized, seen through overlapping squares, and put together again.

The geometry is that of mmsegmentation (`Resize` with `keep_ratio` and `mode="slide"`), which
the protocols of TCL and SCLIP use: the shorter side gets a fixed length, windows start every
`stride` pixels, and the last one is moved back to the edge. Where windows overlap, their mean
counts.

Letters: K classes, h x w cells of a grid, H x W pixels, N windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import Count, check_fields
from ovsslib.pnp.result import Maps

if TYPE_CHECKING:
    from PIL import Image

    from ovsslib.pnp.pipeline import PnPOVSS
    from ovsslib.types import ImageLike

R = TypeVar("R")
Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels, half-open."""


@dataclass(frozen=True)
class Window:
    """How an image is cut into windows; lengths in pixels.

    Attributes:
        short: Length of the image's shorter side after resizing.
        crop: Side of a window; None for the whole resized image at once.
        stride: Distance from one window to the next.
        longest: Most for the longer side after resizing; wins over `short`.

    Raises:
        OvssError: A length is below 1, or windows would leave gaps.
    """

    short: Count
    crop: Count | None
    stride: Count
    longest: Count = 2048

    def __post_init__(self) -> None:
        """Check the lengths."""
        check_fields(self, "a window's ")
        if self.crop is not None and self.stride > self.crop:
            raise OvssError(
                f"a stride of {self.stride} leaves gaps between windows of {self.crop} pixels; "
                "use a stride up to the crop"
            )

    def to_dict(self) -> dict[str, int | None]:
        """All fields, for a results file."""
        return dataclasses.asdict(self)


def fit_size(height: int, width: int, short: int, longest: int = 2048) -> tuple[int, int]:
    """Size of a resized image, aspect ratio kept.

    Args:
        height: Of the image.
        width: Of the image.
        short: Wanted length of the shorter side.
        longest: Most for the longer side.

    Returns:
        Height and width, each at least 1.

    Example:
        >>> fit_size(375, 500, 448), fit_size(100, 1000, 448)
        ((448, 597), (205, 2048))
    """
    scale = min(short / min(height, width), longest / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def boxes(height: int, width: int, crop: int | None, stride: int) -> list[Box]:
    """Where the windows of an image lie, row by row.

    Args:
        height: Of the image.
        width: Of the image.
        crop: Side of a window; along a side that is shorter, the window is as short. None for the
            whole image.
        stride: Distance from one window to the next.

    Returns:
        N boxes which cover the image; one where it is not larger than a window.

    Example:
        >>> boxes(4, 7, 4, 2)
        [(0, 0, 4, 4), (0, 2, 4, 6), (0, 3, 4, 7)]
    """

    def spans(length: int) -> list[tuple[int, int]]:
        side = length if crop is None else min(crop, length)
        count = -(-(length - side) // stride) + 1
        starts = [min(index * stride, length - side) for index in range(count)]
        return [(start, start + side) for start in starts]

    return [
        (top, left, bottom, right) for top, bottom in spans(height) for left, right in spans(width)
    ]


def stitch(parts: Sequence[np.ndarray], places: Sequence[Box], size: tuple[int, int]) -> np.ndarray:
    """Planes of windows put together; the mean where they overlap.

    Args:
        parts: N arrays (K, H_n, W_n), one per window, of any resolution: each is stretched
            (bilinear) over its box.
        places: N boxes.
        size: Height H and width W that the boxes refer to.

    Returns:
        (K, H, W) float32.

    Raises:
        OvssError: The boxes do not cover every pixel.

    Example:
        >>> one = np.ones((1, 2, 2))
        >>> stitch([one, 3 * one], [(0, 0, 2, 2), (0, 1, 2, 3)], (2, 3))[0, 0].tolist()
        [1.0, 2.0, 3.0]
    """
    from ovsslib.pnp.resample import upsample

    total = np.zeros((parts[0].shape[0], *size), np.float32)
    count = np.zeros(size, np.float32)
    for part, (top, left, bottom, right) in zip(parts, places, strict=True):
        total[:, top:bottom, left:right] += upsample(part, (bottom - top, right - left))
        count[top:bottom, left:right] += 1
    if not count.all():
        raise OvssError("windows leave pixels uncovered; use a stride up to the crop")
    return total / count


def stitch_maps(
    parts: Sequence[np.ndarray], places: Sequence[Box], size: tuple[int, int]
) -> np.ndarray:
    """Class maps of windows put together on one grid of cells as large as the windows' own.

    An image as large as its one window keeps its map as it is. Otherwise a cell of the new grid
    takes from each window that holds its centre the value there (bilinear), and of these the mean.

    Args:
        parts: N arrays (K, h, w) of one shape, each spread evenly over its box.
        places: N boxes of one size.
        size: Height H and width W that the boxes refer to.

    Returns:
        (K, h', w') float32; h' / h is about H over a window's height. Without classes the first
        window's empty array.
    """
    if not parts[0].size:
        return parts[0]
    grid = [
        max(1, round(length / (places[0][axis + 2] - places[0][axis]) * parts[0].shape[axis + 1]))
        for axis, length in enumerate(size)
    ]
    total = np.zeros((parts[0].shape[0], *grid), np.float32)
    count = np.zeros(grid, np.float32)
    for part, box in zip(parts, places, strict=True):
        down = _weights(part.shape[1], box[0], box[2], grid[0], size[0])
        across = _weights(part.shape[2], box[1], box[3], grid[1], size[1])
        total += down @ part.astype(np.float32) @ across.T
        count += np.outer(down.any(1), across.any(1))
    # Windows overlap or touch, so that every centre lies in one.
    return total / count


def _weights(cells: int, start: int, stop: int, grid: int, length: int) -> np.ndarray:
    """(grid, cells) weights of linear interpolation; 0 for centres outside `start..stop`."""
    centres = (np.arange(grid) + 0.5) * length / grid
    where = np.clip((centres - start) / (stop - start) * cells - 0.5, 0, cells - 1)
    low = np.minimum(where.astype(np.int64), cells - 1)
    part = (where - low).astype(np.float32)
    inside = ((centres >= start) & (centres <= stop)).astype(np.float32)
    weights = np.zeros((grid, cells), np.float32)
    rows = np.arange(grid)
    np.add.at(weights, (rows, low), (1 - part) * inside)
    np.add.at(weights, (rows, np.minimum(low + 1, cells - 1)), part * inside)
    return weights


def cut(picture: Image.Image, window: Window) -> tuple[list[Image.Image], list[Box], Image.Image]:
    """Resize an image (bilinear) and cut it.

    Args:
        picture: RGB.
        window: How.

    Returns:
        N windows, their boxes, and the resized image.
    """
    from PIL import Image

    height, width = fit_size(picture.height, picture.width, window.short, window.longest)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    places = boxes(height, width, window.crop, window.stride)
    parts = [resized.crop((left, top, right, bottom)) for top, left, bottom, right in places]
    return parts, places, resized


def in_windows(
    method: Callable[[list[Image.Image], list[Sequence[str]]], list[R]],
    images: Sequence[ImageLike],
    classes_per_image: Sequence[Sequence[str]],
    window: Window,
) -> Iterator[tuple[Image.Image, list[R], list[Box], tuple[int, int]]]:
    """Apply a method to the windows of all images, as many at a time as there are images.

    Yields:
        Of each image: itself, RGB; the result of each window; the windows' boxes in the resized
        image, and its height and width.
    """
    from ovsslib.io.images import open_image

    opened = [open_image(image) for image in images]
    cuts = [cut(image, window) for image in opened]
    jobs = [
        (part, classes)
        for (parts, _, _), classes in zip(cuts, classes_per_image, strict=True)
        for part in parts
    ]
    results: list[R] = []
    for start in range(0, len(jobs), max(1, len(opened))):
        some = jobs[start : start + len(opened)]
        results += method([part for part, _ in some], [classes for _, classes in some])
    rest = iter(results)
    for image, (parts, places, resized) in zip(opened, cuts, strict=True):
        yield image, [next(rest) for _ in parts], places, (resized.height, resized.width)


def window_maps(
    model: PnPOVSS,
    images: Sequence[ImageLike],
    classes_per_image: Sequence[Sequence[str]],
    window: Window | None,
) -> list[Maps]:
    """PnP-OVSS's maps by way of windows; refinement goes on at the image's own size as ever.

    Each window is squashed to the model's square input and has Salience DropOut of its own. The
    windows of all images go through the model together, as many at a time as there are images.

    Args:
        model: The method.
        images: B images.
        classes_per_image: B lists of names.
        window: How to cut; None squashes each image as a whole (`PnPOVSS.maps`).

    Returns:
        B results; of windows, `match` is the mean, and there are no stages.

    Raises:
        OvssError: As `PnPOVSS.maps`.
    """
    if window is None:
        return model.maps(images, classes_per_image)
    whole = []
    for image, maps, places, size in in_windows(model.maps, images, classes_per_image, window):
        stitched = stitch_maps([each.maps for each in maps], places, size)
        match = float(np.mean([each.match for each in maps]))
        whole.append(Maps(stitched, maps[0].classes, match, np.asarray(image)))
    return whole
