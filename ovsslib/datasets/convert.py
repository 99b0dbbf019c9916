"""Convert official annotation formats that ovsslib cannot read directly; sources stay unchanged.

Pascal Context comes as `.mat` files of 459 classes, as run-length codes in one JSON file
(PASCAL in Detail) or as PNGs of 59 classes in another order; all become the PNGs that
mmsegmentation reads. COCO-Object is read from COCO-Stuff's maps directly; its converted form is for
other programs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ovsslib.datasets.base import find_root, read_split, stems
from ovsslib.datasets.coco_object import decode, load_object_labels
from ovsslib.datasets.context import CONTEXT60, CONTEXT_IDS, ids_table, voc_first_table
from ovsslib.datasets.folder import LabelError, read_label
from ovsslib.errors import OvssError
from ovsslib.io.files import make_folder, only_one, read_text, write_atomic
from ovsslib.types import Progress

FORMS = ("trainval_merged.json", "trainval", "59_context_labels")
"""Official forms of Context's labels, by their names in VOC 2010's folder."""


def convert_context(
    root: Path | None = None, source: Path | None = None, *, progress: Progress | None = None
) -> tuple[Path, int]:
    """Make `SegmentationClassContext` and the split files of Pascal Context.

    Args:
        root: VOC 2010's folder, or one that holds it; None looks below `$OVSS_DATA`.
        source: `trainval_merged.json` (needs pycocotools), the folder of the official `.mat`
            files, or that of the official images in the order with VOC's classes first
            (`59_context_labels`); None takes the first of `FORMS` in VOC 2010's folder.
        progress: Wraps the iteration over images.

    Returns:
        The folder of labels, and how many were written.

    Raises:
        OvssError: There is no source, it is damaged or another data set's, or the labels cannot
            be written. A label that cannot be made is named when all others are there.
    """
    folder = find_root(root, CONTEXT60.below, holds=("JPEGImages",))
    forms = [folder / name for name in FORMS if (folder / name).exists()]
    if source is None and not forms:
        raise OvssError(
            f"{folder}: holds none of {', '.join(FORMS)}; ovss data download context gets the first"
        )
    source = source or forms[0]
    target = folder / "SegmentationClassContext"
    if source.resolve() == target.resolve():
        raise OvssError(f"{source}: would be overwritten by its own conversion; move it elsewhere")
    splits, names, label_of = _context_source(source, folder)
    faults = _write(target, names, "", label_of, progress)
    for split, ids in splits.items():
        text = "".join(f"{name}\n" for name in ids)
        write_atomic(folder / "ImageSets" / "SegmentationContext" / f"{split}.txt", text)
    return target, _complete(names, faults)


_Labels = tuple[dict[str, list[str]], list[str], Callable[[str], np.ndarray]]


def _context_source(source: Path, root: Path) -> _Labels:
    """Ids of the splits, ids of all labels, and the function that gives a label."""
    if source.suffix == ".json":
        return _from_detail(source)
    readers = {".mat": _read_mat, ".png": _read_voc_first}
    ending = next((ending for ending in readers if stems(source, ending)), None)
    if ending is None:
        raise OvssError(
            f"{source}: neither trainval_merged.json nor a folder of .mat files or of PNGs "
            "(59_context_labels); give one of them with --source"
        )
    # These forms have no splits: take those of VOC 2010's main challenge.
    names, read = stems(source, ending), readers[ending]
    labelled = set(names)
    splits = {}
    for split in ("train", "val"):
        ids = read_split(root / "ImageSets" / "Main" / f"{split}.txt")
        splits[split] = [name for name in ids if name in labelled]
    return splits, names, lambda name: read(source / f"{name}{ending}")


def _read_mat(path: Path) -> np.ndarray:
    """Label of an official `.mat` file; classes outside the 59 become background."""
    from scipy.io import loadmat

    try:
        ids = loadmat(path, variable_names=["LabelMap"])["LabelMap"]
        label: np.ndarray = ids_table()[ids.astype(np.uint16)]
    except Exception as error:  # scipy raises whatever a damaged file leads to
        reason = " ".join(str(error).split())
        raise OvssError(
            f"{path}: the label map cannot be read ({reason}); is it Pascal Context's?"
        ) from error
    return label


def _read_voc_first(path: Path) -> np.ndarray:
    """Label of an official image of 59 classes, in the order used here."""
    stored = read_label(path)
    if stored.max() > 59:
        raise LabelError(
            "label values", f"{path}: holds {stored.max()}, but 59_context_labels hold 0 to 59"
        )
    label: np.ndarray = voc_first_table()[stored]
    return label


def _from_detail(path: Path) -> _Labels:
    """Splits and labels of PASCAL in Detail's file, which has the 59 classes only."""
    try:
        content = json.loads(read_text(path))
        names: dict[int, str] = {}
        sizes: dict[str, tuple[int, int]] = {}
        splits: dict[str, list[str]] = {"train": [], "val": []}
        for image in content["images"]:
            name = names[image["image_id"]] = Path(image["file_name"]).stem
            sizes[name] = image["height"], image["width"]
            if image["phase"] in splits:
                splits[image["phase"]].append(name)
        masks: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for mask in content["annos_segmentation"]:
            masks[names[mask["image_id"]]].append((mask["category_id"], mask["segmentation"]))
    except (ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise OvssError(
            f"{path}: not PASCAL in Detail's trainval_merged.json, or incomplete ({reason})"
        ) from error
    label_of_id = {number: k for k, number in enumerate(CONTEXT_IDS)}
    strange = {number for pairs in masks.values() for number, _ in pairs} - label_of_id.keys()
    if strange:
        raise OvssError(
            f"{path}: has category {min(strange)}, which is not one of the 59 classes of "
            "trainval_merged.json; is it another file?"
        )

    def label_of(name: str) -> np.ndarray:
        label = np.zeros(sizes[name], np.uint8)  # where masks overlap, the last one wins
        for number, code in masks.get(name, []):
            try:
                label[decode(code, *label.shape)] = label_of_id[number]
            except (TypeError, ValueError, KeyError) as error:
                raise OvssError(f"{path}: a mask of {name} is damaged ({error})") from error
        return label

    return splits, [*splits["train"], *splits["val"]], label_of


def convert_coco_object(
    root: Path | None = None,
    source: Literal["maps", "instances"] = "maps",
    out: Path | None = None,
    *,
    split: str = "val",
    progress: Progress | None = None,
) -> tuple[Path, int]:
    """Write COCO-Object's labels in GroupViT's form: `…_instanceTrainIds.png`, 0..80.

    Args:
        root: COCO's folder, or one that holds it; None looks below `$OVSS_DATA`.
        source: `"maps"`: COCO-Stuff's pixel maps, as GroupViT does; `"instances"`: the masks of
            `instances_val2017.json`, as the released PnP-OVSS code does.
        out: Folder in which `annotations/val2017` is written; None takes COCO's own for
            `"maps"` and its subfolder `instances` for `"instances"`, so that neither ground
            truth overwrites the other.
        split: `"val"` or `"train"`.
        progress: As for `convert_context`.

    Returns:
        The folder of labels, and how many were written.

    Raises:
        OvssError: Root, split or source is missing or damaged, or the labels cannot be written.
            A label that cannot be made is named when all others are there.
    """
    data = load_object_labels(source, root, split)
    base = out or (data.root if source == "maps" else data.root / "instances")
    target = base / "annotations" / f"{split}2017"
    faults = _write(target, data.ids, "_instanceTrainIds", data.label, progress)
    return target, _complete(data.ids, faults)


def _write(
    target: Path,
    names: Sequence[str],
    suffix: str,
    label_of: Callable[[str], np.ndarray],
    progress: Progress | None,
) -> list[OvssError]:
    """Write a mode L PNG per name; returns why some could not be made."""
    faults = []
    items = progress(names, f"writing {target.name}", len(names)) if progress else names
    with only_one(make_folder(target)):
        for name in items:
            try:
                image = Image.fromarray(label_of(name))
            except OvssError as fault:
                faults.append(fault)
                continue
            write_atomic(target / f"{name}{suffix}.png", partial(image.save, format="PNG"))
    return faults


def _complete(names: Sequence[str], faults: list[OvssError]) -> int:
    """How many labels were written; an error where some are missing."""
    if faults:
        rest = len(names) - len(faults)
        raise OvssError(f"{faults[0]} ({rest} of {len(names)} labels are made, the others not)")
    return len(names)
