"""COCO-Object: COCO's 80 things; everything else is background.

Two ground truths go by this name. The field's (GroupViT's conversion) comes from COCO-Stuff's
pixel maps: stuff and unlabelled pixels are background and no pixel is void. The released PnP-OVSS
code paints the masks of `instances_val2017.json` instead, where the first annotation wins.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ovsslib.datasets.base import find_root
from ovsslib.datasets.coco_stuff import (
    BELOW,
    COCO_CLASSES,
    SIZES,
    STUFF_IDS,
    THING_IDS,
    CocoPixelMaps,
    image_folder,
    year_of,
)
from ovsslib.datasets.folder import (
    FolderDataset,
    LabelError,
    Layout,
    label_table,
    plain_table,
    zero,
)
from ovsslib.errors import OvssError
from ovsslib.io.files import read_text
from ovsslib.io.palette import VOID

COCO_OBJECT81 = Layout(
    name="coco-object81",
    classes=COCO_CLASSES[:80],
    things=frozenset(range(1, 81)),
    covered=False,
    background=True,
    below=BELOW,
    expected=SIZES,
)
"""Background is a class."""
COCO_OBJECT80 = dataclasses.replace(
    COCO_OBJECT81, name="coco-object80", covered=True, background=False, zero_is_void=True
)
"""Pixels of background are void."""
COCO_INSTANCES = dataclasses.replace(COCO_OBJECT81, name="coco-object-instances")
"""Ground truth from `instances_val2017.json`."""


def object_tables(layout: Layout) -> dict[str, np.ndarray]:
    """How the three kinds of pixel maps become labels 1..80.

    Args:
        layout: Says what pixels without a class are.

    Returns:
        End of the file's name -> (256,) uint8 table: COCO-Stuff's official maps, GroupViT's
        converted ones, mmsegmentation's converted ones. 255 is background as all stuff is.
    """
    rest = zero(layout)
    stuff = dict.fromkeys((number - 1 for number in STUFF_IDS), rest)
    things = {number - 1: k for k, number in enumerate(THING_IDS, 1)}
    trained = {k: k + 1 if k < 80 else rest for k in range(171)}
    return {
        "": label_table(stuff | things | {VOID: rest}),
        "_instanceTrainIds": plain_table(layout, void=False),
        "_labelTrainIds": label_table(trained | {VOID: rest}),
    }


def coco_object(
    root: str | os.PathLike[str] | None = None, split: str = "val", layout: Layout = COCO_OBJECT81
) -> CocoPixelMaps:
    """COCO-Object from pixel maps; arguments and errors as in `CocoPixelMaps`."""
    return CocoPixelMaps(root, split, layout, object_tables(layout))


class CocoInstances(FolderDataset):
    """COCO's images with labels painted from `instances_val2017.json` (a `Dataset`).

    As in the released code, where objects overlap the one listed first wins, and regions of many
    objects (`iscrowd`) count as their class. Every image of the file counts: one without
    annotations is background. Needs pycocotools.

    Args:
        root: COCO's folder (with `annotations/instances_val2017.json`) or one that holds it;
            None looks below `$OVSS_DATA`.
        split: `"val"` or `"train"`.

    Raises:
        OvssError: Root or split is missing, the file is not COCO's, or pycocotools is missing.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, split: str = "val") -> None:
        _masks()
        layout, year = COCO_INSTANCES, year_of(split, COCO_INSTANCES.name)
        file = f"annotations/instances_{year}.json"
        hint = f"ovss data download {layout.name} gets it"
        folder = find_root(root, BELOW, holds=(file,), hint=hint)
        self._sizes, self._objects = _read_instances(folder / file)
        table = plain_table(layout, void=True)
        super().__init__(layout, folder, split, tuple(sorted(self._sizes)), table)
        self.image_folder = image_folder(folder, year)
        self.file = folder / file

    def image_path(self, name: str) -> Path:
        """`images/val2017/<name>.jpg`."""
        return self.image_folder / f"{name}.jpg"

    def label_path(self, name: str) -> None:
        """None: labels are in one JSON file."""
        del name

    def stored(self, name: str) -> np.ndarray:
        """(H, W) uint8: 0 background, 1..80.

        Raises:
            LabelError: The image is not in the file, or a mask of it is damaged.
        """
        if name not in self._sizes:
            raise LabelError("label missing", f"{self.file}: lists no image {name}")
        label = np.zeros(self._sizes[name], np.uint8)
        for category, segmentation in self._objects.get(name, []):
            try:
                mask = decode(segmentation, *label.shape)
            except (TypeError, ValueError, KeyError, IndexError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                message = f"{self.file}: a mask of {name} is damaged ({reason})"
                raise LabelError("label unreadable", message) from error
            label[(label == 0) & mask] = category
        return label


def decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    """One annotation's mask.

    Args:
        segmentation: As COCO writes it: a list of polygons `[x1, y1, x2, y2, …]`, or a
            run-length code whose `counts` are a list (crowds) or a compressed text.
        height: Of the image.
        width: Of the image.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: The code is for an image of another size.
    """
    masks = _masks()
    if isinstance(segmentation, list):
        code = masks.merge(masks.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        code = masks.frPyObjects(segmentation, height, width)
    else:
        code = segmentation
    if tuple(code["size"]) != (height, width):
        raise ValueError(f"made for {code['size']}, the image has {[height, width]}")
    mask: np.ndarray = masks.decode(code).astype(bool)
    return mask


def _masks() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise OvssError(
            "COCO's masks need pycocotools; python -m pip install 'pycocotools>=2.0.8'"
        ) from error
    return mask


def _read_instances(
    path: Path,
) -> tuple[dict[str, tuple[int, int]], dict[str, list[tuple[int, Any]]]]:
    """Sizes (H, W) of all images; label and segmentation of each object of those that have some."""
    try:
        content = json.loads(read_text(path))
        stems = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
        sizes = {
            stems[image["id"]]: (image["height"], image["width"]) for image in content["images"]
        }
        labels = {number: k for k, number in enumerate(THING_IDS, 1)}
        objects = defaultdict(list)
        for annotation in content["annotations"]:
            label = labels[annotation["category_id"]]
            objects[stems[annotation["image_id"]]].append((label, annotation["segmentation"]))
    except (ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise OvssError(f"{path}: cannot be read ({reason}); is it complete?") from error
    except KeyError as error:
        raise OvssError(
            f"{path}: not COCO's instances: {error} is missing, or is not an id of an image or "
            "of one of the 80 things"
        ) from error
    return sizes, dict(objects)


def load_object_labels(
    source: Literal["maps", "instances"], root: str | os.PathLike[str] | None, split: str
) -> FolderDataset:
    """COCO-Object with background from official files: never from maps converted before.

    Args:
        source: `"maps"`: COCO-Stuff's official pixel maps; `"instances"`: the masks of objects.
        root: See `CocoPixelMaps`.
        split: `"val"` or `"train"`.

    Raises:
        OvssError: Root, split or files are missing.
    """
    if source == "instances":
        return CocoInstances(root, split)
    official = {"": object_tables(COCO_OBJECT81)[""]}
    return CocoPixelMaps(root, split, COCO_OBJECT81, official)
