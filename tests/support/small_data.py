"""Data sets of a few small images in the official layouts, as tests write and read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from support.helpers import write_photo

SIZE = (24, 16)  # width, height


def save_label(path: Path, values: Any) -> np.ndarray:
    """Write stored numbers as a mode L PNG of `SIZE`, tiled from ``values``; return them."""
    row = np.resize(np.asarray(values, np.uint8), SIZE[0] * SIZE[1])
    label = row.reshape(SIZE[1], SIZE[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(label).save(path)
    return label


def photo(path: Path, seed: int = 0) -> Path:
    """Write an image of `SIZE`, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_photo(path, SIZE, seed=seed)


def write_context(root: Path, values: Any = (0, 1, 15, 59), n: int = 2) -> Path:
    """VOC 2010's folder with Context's labels."""
    ids = [f"2008_{index:06d}" for index in range(n)]
    for index, name in enumerate(ids):
        photo(root / "JPEGImages" / f"{name}.jpg", index)
        save_label(root / "SegmentationClassContext" / f"{name}.png", values)
    lists = root / "ImageSets" / "SegmentationContext"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "val.txt").write_text("\n".join(ids) + "\n")
    return root


def write_ade(root: Path, values: Any = (0, 1, 150), n: int = 2) -> Path:
    """ADEChallengeData2016's validation folders."""
    for index in range(1, n + 1):
        name = f"ADE_val_{index:08d}"
        photo(root / "images" / "validation" / f"{name}.jpg", index)
        save_label(root / "annotations" / "validation" / f"{name}.png", values)
    return root


def rectangle(left: int, top: int, right: int, bottom: int) -> list[float]:
    """The polygon of a rectangle of whole pixels, as COCO writes polygons."""
    return [left, top, right, top, right, bottom, left, bottom]


def write_coco(
    root: Path,
    annotations: Any = (),
    *,
    maps: bool = True,
    values: Any = (0, 12, 91, 181, 255),
    n: int = 3,
) -> Path:
    """COCO's folder: images 1..n, pixel maps (``values``) and an instances file."""
    images = []
    for number in range(1, n + 1):
        name = f"{number:012d}"
        photo(root / "val2017" / f"{name}.jpg", number)
        images.append(
            {"id": number, "file_name": f"{name}.jpg", "width": SIZE[0], "height": SIZE[1]}
        )
        if maps:
            save_label(root / "stuffthingmaps" / "val2017" / f"{name}.png", values)
    file = root / "annotations" / "instances_val2017.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": list(annotations)}))
    return root


def annotation(image: int, category: int, segmentation: Any, iscrowd: int = 0) -> dict[str, Any]:
    """One object of an instances file."""
    return {
        "id": image * 1000 + category,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": iscrowd,
    }
