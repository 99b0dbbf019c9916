"""Write Diorama splits in Pascal VOC's directory layout, and images with captions for training.

A split's seeds never meet another split's: val, tune and train count from bases a million apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.io.files import check_folder, make_folder, only_one, write_atomic
from ovsslib.io.palette import voc_palette
from ovsslib.lookup import Range, Seed, check_types
from ovsslib.miniature.diorama.captions import describe, noticeable
from ovsslib.miniature.diorama.colours import HELD_OUT
from ovsslib.miniature.diorama.scene import Scene, compose, render

SPLIT_BASE = {
    "val": 1_000_000,
    "tune": 2_000_000,
    "heldout": 3_000_000,
    "novel": 4_000_000,
    "train": 10_000_000,
}
# Splits with (colour, thing) pairs that training lacks; "novel" has one in every image.
NOVEL = ("val", "novel")
JPEG_QUALITY = 88
Images = Annotated[int, Range(1, 1_000_000)]
"""More would be scenes of another split."""


def scene_seed(split: str, seed: int, index: int) -> int:
    """Seed of the `index`-th scene of a split; raises `OvssError` for an unknown split."""
    if split not in SPLIT_BASE:
        raise OvssError(f"unknown Diorama split {split!r}: use one of {', '.join(SPLIT_BASE)}")
    return SPLIT_BASE[split] + 100_000_000 * seed + index


def split_scene(split: str, seed: int, index: int, close_ups: int = 2) -> Scene:
    """The `index`-th scene of a split, not yet drawn.

    Every `close_ups`-th of the training's is a close-up of one thing, as most images on the web
    are.
    """
    first = scene_seed(split, seed, index)
    if split != "novel":
        close_up = split == "train" and index % close_ups == 0
        return compose(first, close_up=close_up, novel=split in NOVEL)
    scenes = (compose(first + 100_000 * attempt) for attempt in count())
    return next(s for s in scenes if any((i.colour, i.name) in HELD_OUT for i in s.things))


def write_split(root: Path, split: str, n: int, seed: int = 0) -> Iterator[str]:
    """Write `n` scenes of a split below `root` and yield each image id when it is on disk.

    Writes `JPEGImages/<id>.jpg`, `SegmentationClass/<id>.png` (VOC palette, 255 on borders),
    `ImageSets/Segmentation/<split>.txt` and the split's lines of `captions.jsonl`. Other splits
    below the same root stay as they are.

    Raises:
        OvssError: The split is unknown or empty, the folder cannot be written to or holds another
            data set's split of this name, or another process draws below the same root.
    """
    check_types({"n": n, "seed": seed}, {"n": Images, "seed": Seed}, "a split's ")
    make_folder(root)
    with only_one(root, "is drawing"):
        yield from _write_split(root, split, n, seed)


def _write_split(root: Path, split: str, n: int, seed: int) -> Iterator[str]:
    """`write_split` where no other process draws."""
    lists = root / "ImageSets" / "Segmentation"
    for folder in (root / "JPEGImages", root / "SegmentationClass", lists):
        check_folder(folder)
    listing = lists / f"{split}.txt"
    if listing.exists() and not listing.read_bytes().startswith(f"{split}_0".encode()):
        raise OvssError(f"{listing}: lists another data set's images; choose another --out")
    ids, lines = [], []
    for index in range(n):
        image_id = f"{split}_{index:05d}"
        scene = split_scene(split, seed, index)
        picture, mask = render(scene)
        picture.save(root / "JPEGImages" / f"{image_id}.jpg", quality=JPEG_QUALITY)
        label = Image.fromarray(mask)
        label.putpalette(voc_palette().ravel().tolist())
        label.save(root / "SegmentationClass" / f"{image_id}.png", optimize=True)
        captions = describe(scene, noticeable(mask))
        lines.append(json.dumps({"id": image_id, "split": split, "captions": captions}))
        ids.append(image_id)
        yield image_id
    write_atomic(listing, "\n".join(ids) + "\n")
    book = root / "captions.jsonl"
    others = book.read_text().splitlines() if book.exists() else []
    kept = [line for line in others if json.loads(line)["split"] != split]
    write_atomic(book, "\n".join(kept + lines) + "\n")


def caption_pair(
    split: str, seed: int, index: int, side: int, close_ups: int = 2
) -> tuple[np.ndarray, list[str]]:
    """One training example: an image squashed to `side` x `side` and its captions.

    No mask leaves this function.

    Returns:
        `(side, side, 3)` uint8 in [0, 255], and eight strings.
    """
    scene = split_scene(split, seed, index, close_ups)
    picture, mask = render(scene, scale=2)
    captions = describe(scene, noticeable(mask))
    small = picture.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small), captions
