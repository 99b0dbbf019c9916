"""Speed and memory of evaluation without a model: files are read and pixels counted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from ovsslib.bench.case import PHOTO, synthetic_image
from ovsslib.bench.memory import resident
from ovsslib.datasets.coco_stuff import COCO_CLASSES, coco_stuff, official_table
from ovsslib.errors import OvssError
from ovsslib.evaluate.spec import Log
from ovsslib.io.palette import VOID
from ovsslib.io.provenance import provenance
from ovsslib.lookup import Count, Range, check_types
from ovsslib.metrics.counts import confusion_matrix
from ovsslib.protocols.protocol import get_protocol

DISTINCT = 200
"""Different images at most; they are read again and again."""
MEMORY_AFTER = 500
"""Images after which memory is looked at the first time."""
PROTOCOL = "pnp-fixed"
Side = Annotated[int, Range(1, 65_500)]
"""Pixels that a JPEG can have."""
Label = Annotated[int, Range(1, len(COCO_CLASSES))]


def synthetic_label(seed: int, size: tuple[int, int], classes: int) -> np.ndarray:
    """A label map like a segmented photograph's: up to 15 regions with ragged borders, some void.

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
    values = [*draw.choice(np.arange(1, classes + 1), number, replace=False), VOID]

    def field(cells: tuple[int, int]) -> np.ndarray:
        noise = Image.fromarray(draw.normal(size=cells[::-1]).astype(np.float32))
        return np.asarray(noise.resize(size, Image.Resampling.BICUBIC))

    fine = (max(1, size[0] // 6), max(1, size[1] // 6))
    fields = [
        field((5, 4) if draw.random() < 0.5 else (12, 9)) + 0.12 * field(fine) for _ in values
    ]
    fields[-1] = fields[-1] - 0.4
    return np.array(values, np.uint8)[np.argmax(fields, axis=0)]


def synthetic_prediction(label: np.ndarray) -> np.ndarray:
    """What a method might predict: the label map, displaced; background where it is void.

    Args:
        label: (H, W) uint8 as of `synthetic_label`.

    Returns:
        (H, W) int16, an index into all classes, -1 background, as `Segmentation.labels`.
    """
    moved = np.roll(label, (7, 11), (0, 1)).astype(np.int16) - 1
    moved[moved == VOID - 1] = -1
    return moved


def write_files(
    root: Path, images: int, size: tuple[int, int], classes: int
) -> Iterator[np.ndarray]:
    """Write images and label maps in COCO-Stuff's official layout; yields each label map."""
    stored = np.zeros(256, np.uint8)
    stored[official_table()] = np.arange(256)  # the inverse: label -> number in the file
    maps, photos = root / "stuffthingmaps/val2017", root / "images/val2017"
    for folder in (maps, photos):
        folder.mkdir(parents=True)
    for index in range(images):
        label = synthetic_label(index, size, classes)
        Image.fromarray(stored[label]).save(maps / f"{index:012d}.png")
        # Grain, so that its JPEG is as large as a photograph's.
        grain = np.random.default_rng(index).normal(0, 14, (*size[::-1], 1))
        image = (synthetic_image(index, size) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(photos / f"{index:012d}.jpg", quality=92)
        yield label


def evaluation(
    images: int = 5000, size: tuple[int, int] = PHOTO, classes: int = 171
) -> dict[str, Any]:
    """The record of `ovss bench evaluation`: one thread reads and counts synthetic images.

    Args:
        images: Images, read from files in COCO-Stuff's layout, `DISTINCT` different ones at most.
        size: Width and height in pixels.
        classes: Labels that occur, 1..171; the method is given all of them.

    Returns:
        `milliseconds` per image: `picture` (file to RGB), `label` (file to labels), `confusion`
        (prediction and label to counts); `rate`, images per second: `label` alone, `evaluation`
        (label and confusion), `with_picture` (all three); `memory` in bytes: resident `after` so
        many images (`first`), after all (`last`), `growth`; `counts_agree`: whether the sums are
        those of the images as they were drawn; `settings`; `provenance`.

    Raises:
        OvssError: A number is out of range, or the files cannot be written.
    """
    check_types(
        {"images": images, "size": size, "classes": classes},
        {"images": Count, "size": tuple[Side, Side], "classes": Label},
    )
    log, after, first = Log(), min(MEMORY_AFTER, images), 0
    distinct = min(DISTINCT, images)
    given, protocol = tuple(range(1, classes + 1)), get_protocol(PROTOCOL)
    total = np.zeros((classes + 1, classes + 1), np.int64)
    try:
        with tempfile.TemporaryDirectory(prefix="ovss-bench-") as folder:
            drawn = write_files(Path(folder), distinct, size, classes)
            expected = _expected(drawn, images, classes)
            dataset = coco_stuff(folder)
            for index in range(images):
                name = dataset.ids[index % distinct]
                with log.timed("picture"):
                    dataset.image(name)
                with log.timed("label"):
                    label = dataset.label(name)
                prediction = synthetic_prediction(label)
                with log.timed("confusion"):
                    labels, truth, ignore = protocol.compared(prediction, given, label)
                    total += confusion_matrix(labels, truth, classes + 1, ignore=ignore)
                if index + 1 == after:
                    first = resident(peak=False)
    except OSError as error:
        raise OvssError(f"the synthetic files cannot be written ({error}); free space") from error
    last = resident(peak=False)
    spent = {stage: 1000 * seconds / images for stage, seconds in log.stages.items()}
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
        "milliseconds": spent,
        "rate": {
            "label": 1000 / spent["label"],
            "evaluation": 1000 / (spent["label"] + spent["confusion"]),
            "with_picture": 1000 / sum(spent.values()),
        },
        "memory": {"after": after, "first": first, "last": last, "growth": last - first},
        "counts_agree": bool((total == expected).all()),
        "provenance": provenance(),
    }


def _expected(drawn: Iterable[np.ndarray], images: int, classes: int) -> np.ndarray:
    """(C + 1, C + 1) confusion of all images, counted without the code that is measured."""
    total = np.zeros((classes + 1, classes + 1), np.int64)
    for index, label in enumerate(drawn):
        scored = label != VOID
        pairs = (label[scored], synthetic_prediction(label)[scored] + 1)
        np.add.at(total, pairs, len(range(index, images, DISTINCT)))
    return total
