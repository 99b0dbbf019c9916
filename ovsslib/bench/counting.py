"""Speed and memory of evaluation without a model: files are read and pixels counted."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovsslib.bench.case import made_up_picture
from ovsslib.bench.memory import resident
from ovsslib.datasets.coco_stuff import COCO_CLASSES, coco_stuff, official_table
from ovsslib.errors import OvssError
from ovsslib.io.palette import VOID
from ovsslib.io.provenance import provenance
from ovsslib.metrics.counts import COUNT_NAMES
from ovsslib.protocols.protocol import get_protocol

DISTINCT = 200
"""Different images at most; further ones are hard links to them."""
MEMORY_AFTER = 500
"""Images after which memory is looked at the first time."""
PROTOCOL = "pnp-fixed"
_MAPS, _PICTURES = Path("stuffthingmaps/val2017"), Path("images/val2017")


def made_up_label(seed: int, size: tuple[int, int], classes: int) -> np.ndarray:
    """A label map as a segmented photograph has: 8 to 15 regions with ragged borders, some void.

    Each class, and void, has a smooth random field with a little finer noise; the highest wins.

    Args:
        seed: The same map for the same seed.
        size: Width and height in pixels.
        classes: Labels are 1..classes; fewer than 15 bound the number in one image as well.

    Returns:
        (H, W) uint8, 255 void.
    """
    draw = np.random.default_rng(seed)
    number = min(classes, int(draw.integers(8, 16)))
    chosen = draw.choice(np.arange(1, classes + 1), number, replace=False)
    best = np.full(size[::-1], -np.inf, np.float32)
    label = np.full(size[::-1], VOID, np.uint8)
    fine = (max(1, size[0] // 6), max(1, size[1] // 6))
    for value in (*chosen, VOID):
        coarse = (5, 4) if draw.random() < 0.5 else (12, 9)  # stuff, things
        level = _field(draw, coarse, size) + 0.12 * _field(draw, fine, size)
        level -= 0.4 * (value == VOID)
        wins = level > best
        best[wins], label[wins] = level[wins], value
    return label


def _field(draw: np.random.Generator, cells: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32: normal noise of so many cells, enlarged smoothly."""
    noise = draw.normal(size=cells[::-1]).astype(np.float32)
    return np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))


def made_up_prediction(label: np.ndarray) -> np.ndarray:
    """What a method might say: the label map, displaced; background where it is void.

    Args:
        label: (H, W) uint8 as of `made_up_label`.

    Returns:
        (H, W) int16, an index into all classes, -1 background: `Segmentation`'s kind.
    """
    moved = np.roll(label, (7, 11), (0, 1)).astype(np.int16) - 1
    moved[moved == VOID - 1] = -1
    return moved


def write_files(
    root: Path, images: int, size: tuple[int, int], classes: int, distinct: int
) -> np.ndarray:
    """Write images and label maps in COCO-Stuff's official layout.

    Args:
        root: The data set's folder.
        images: Images.
        size: Width and height in pixels.
        classes: Labels 1..classes occur.
        distinct: So many are different; the others are hard links to these, or copies.

    Returns:
        (3, classes + 1) int64: intersection, predicted and truth of all images together with
        `made_up_prediction`, counted from the arrays without the code that is measured.
    """
    stored = np.zeros(256, np.uint8)
    table = official_table()
    stored[table] = np.arange(256)  # the inverse: label -> number in the file
    totals = np.zeros((3, classes + 1), np.int64)
    for folder in (_MAPS, _PICTURES):
        (root / folder).mkdir(parents=True)
    for index in range(images):
        files = [root / _MAPS / f"{index:012d}.png", root / _PICTURES / f"{index:012d}.jpg"]
        if index >= distinct:
            for file in files:
                _link(file.with_stem(f"{index % distinct:012d}"), file)
            continue
        label = made_up_label(index, size, classes)
        Image.fromarray(stored[label]).save(files[0])
        Image.fromarray(_grainy(index, size)).save(files[1], quality=92)
        repeated = len(range(index, images, distinct))
        totals += repeated * _counted(made_up_prediction(label) + 1, label, classes)
    return totals


def _grainy(seed: int, size: tuple[int, int]) -> np.ndarray:
    """A made-up image with grain, so that its JPEG is as large as a photograph's."""
    grain = np.random.default_rng(seed).normal(0, 14, (*size[::-1], 1))
    return (made_up_picture(seed, size) + grain).clip(0, 255).astype(np.uint8)


def _counted(said: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    kept = label != VOID
    parts = (label[kept & (said == label)], said[kept], label[kept])
    return np.stack([np.bincount(part, minlength=classes + 1) for part in parts])


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # not every file system has hard links
        shutil.copyfile(source, target)


def evaluation(
    images: int = 5000,
    size: tuple[int, int] = (500, 375),
    classes: int = 171,
    *,
    distinct: int = DISTINCT,
) -> dict[str, Any]:
    """The record of `ovss bench evaluation`: one thread reads and counts made-up images.

    Args:
        images: Images, in COCO-Stuff's layout in a temporary folder; each is read from its file,
            which the system may hold in memory. Writing them is not timed.
        size: Width and height in pixels.
        classes: Labels that occur, 1..171; all are told to the method.
        distinct: Different images at most.

    Returns:
        `milliseconds` per image: `label` (file to labels), `confusion` (prediction and
        label to counts), `picture` (file to RGB); `rate`, images per second: `label`
        alone, `evaluation` (label and confusion), `with_picture` (all three); `memory` in
        bytes: resident `after` so many images (`first`), after all (`last`), `growth`;
        `counts_agree`: whether the sums are those of the images as they were drawn;
        `settings`; `provenance`.

    Raises:
        OvssError: A number is out of range, or the files cannot be written.
    """
    if min(images, *size, distinct) < 1 or not 1 <= classes <= len(COCO_CLASSES):
        raise OvssError(
            f"images {images}, size {size[0]}x{size[1]}, classes {classes}: give 1 or more, and at "
            f"most {len(COCO_CLASSES)} classes"
        )
    distinct = min(distinct, images)
    try:
        with tempfile.TemporaryDirectory(prefix="ovss-bench-") as folder:
            expected = write_files(Path(folder), images, size, classes, distinct)
            found = _measure(Path(folder), classes)
    except OSError as error:
        raise OvssError(f"the made-up files cannot be written ({error}); free space") from error
    total = found.pop("total")
    return {
        "kind": "bench-evaluation",
        "settings": {
            "layout": "coco-stuff",
            "protocol": PROTOCOL,
            "images": images,
            "distinct": distinct,
            "width": size[0],
            "height": size[1],
            "classes": classes,
            "threads": 1,
        },
        **found,
        "counts_agree": bool((total == expected).all()),
        "provenance": provenance(),
    }


def _measure(root: Path, classes: int) -> dict[str, Any]:
    """Times, memory and the summed counts, (3, classes + 1), of all pictures of a folder."""
    dataset, protocol = coco_stuff(root), get_protocol(PROTOCOL)
    told = tuple(range(1, classes + 1))
    spent, total = np.zeros(3), np.zeros((3, classes + 1), np.int64)
    first, images = 0, len(dataset.ids)
    for index, name in enumerate(dataset.ids, 1):
        marks = [time.perf_counter()]
        dataset.image(name)
        marks.append(time.perf_counter())
        label = dataset.label(name)
        marks.append(time.perf_counter())
        said = made_up_prediction(label)
        start = time.perf_counter()
        counts = protocol.tally(said, told, label, classes).counts
        spent += (*np.diff(marks), time.perf_counter() - start)
        total += np.concatenate([getattr(counts, part) for part in COUNT_NAMES])
        if index == min(MEMORY_AFTER, images):
            first = resident(peak=False)
    last = resident(peak=False)
    picture, read, count = map(float, spent)
    return {
        "milliseconds": {
            "label": 1000 * read / images,
            "confusion": 1000 * count / images,
            "picture": 1000 * picture / images,
        },
        "rate": {
            "label": images / read,
            "evaluation": images / (read + count),
            "with_picture": images / (read + count + picture),
        },
        "memory": {
            "after": min(MEMORY_AFTER, images),
            "first": first,
            "last": last,
            "growth": last - first,
        },
        "total": total,
    }
