"""Label files made of official forms that are not read as they are. Sources are never changed.

Pascal Context comes as `.mat` files of 459 classes, as run-length codes in one JSON file
(PASCAL in Detail) or as images of 59 classes in another order; all become the PNGs that
mmsegmentation reads. COCO-Object is read from COCO-Stuff's maps directly; its converted form is for
other programs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
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
from ovsslib.io.files import write_atomic
from ovsslib.types import Progress

FORMS = ("trainval_merged.json", "trainval", "59_context_labels")
"""Where the official forms of Context's labels are looked for, in VOC2010's folder."""


def convert_context(
    root: Path | None = None, source: Path | None = None, *, progress: Progress | None = None
) -> tuple[Path, int]:
    """Make `SegmentationClassContext` and the split files of Pascal Context.

    Args:
        root: VOC2010's folder, or one that holds it; None looks below `$OVSS_DATA`.
        source: `trainval_merged.json` (needs pycocotools), the folder of the official `.mat`
            files, or that of the official images in the order with VOC's classes first
            (`59_context_labels`); None takes the first of `FORMS` in VOC2010's folder.
        progress: Wraps the iteration over images: items, what is done, how many there are.

    Returns:
        The folder of labels, and how many were written.

    Raises:
        OvssError: There is no source, it is damaged or of another data set, or the labels cannot be
            written.
    """
    found = find_root(root, CONTEXT60.below, holds=("JPEGImages",))
    there = [found / name for name in FORMS if (found / name).exists()]
    if source is None and not there:
        raise OvssError(
            f"{found}: holds none of {', '.join(FORMS)}; ovss data download context gets the first"
        )
    source = source or there[0]
    target = found / "SegmentationClassContext"
    if source.resolve() == target.resolve():
        raise OvssError(f"{source}: would be overwritten by its own conversion; move it elsewhere")
    splits, names, label_of = _context_source(source, found)
    count = _write(target, names, "", label_of, progress)
    for split, ids in splits.items():
        text = "".join(f"{name}\n" for name in ids)
        write_atomic(found / "ImageSets" / "SegmentationContext" / f"{split}.txt", text)
    return target, count


_Labels = tuple[dict[str, list[str]], list[str], Callable[[str], np.ndarray]]


def _context_source(source: Path, root: Path) -> _Labels:
    """Ids of the splits, ids of all labels, and the function that gives a label."""
    if source.suffix == ".json":
        return _from_detail(source)
    for ending, read in ((".mat", _read_mat), (".png", _read_voc_first)):
        if names := stems(source, ending):
            # These forms tell no split: it is VOC 2010's own, of its main challenge.
            lists = root / "ImageSets" / "Main"
            have = set(names)
            splits = {
                split: [name for name in read_split(lists / f"{split}.txt") if name in have]
                for split in ("train", "val")
            }
            return splits, names, partial(_read_in, source, ending, read)
    raise OvssError(
        f"{source}: neither trainval_merged.json nor a folder of .mat files or of PNGs "
        "(59_context_labels); give one of them with --source"
    )


def _read_in(
    folder: Path, ending: str, read: Callable[[Path], np.ndarray], name: str
) -> np.ndarray:
    return read(folder / f"{name}{ending}")


def _read_mat(path: Path) -> np.ndarray:
    """Label of an official `.mat` file: what is none of the 59 classes becomes background."""
    from scipy.io import loadmat

    try:
        ids = loadmat(path, variable_names=["LabelMap"])["LabelMap"]
        label: np.ndarray = ids_table()[ids.astype(np.uint16)]
    except Exception as error:  # scipy raises whatever a damaged file leads to
        reason = " ".join(str(error).split())
        raise OvssError(
            f"{path}: no label map can be read ({reason}); is it Pascal Context's?"
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
    """PASCAL in Detail's file. It has only the 59 classes: another id means another file."""
    try:
        content = json.loads(path.read_text("utf-8"))
        pictures = {one["image_id"]: one for one in content["images"]}
        masks: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for one in content["annos_segmentation"]:
            name = Path(pictures[one["image_id"]]["file_name"]).stem
            masks[name].append((one["category_id"], one["segmentation"]))
        sizes = {
            Path(one["file_name"]).stem: (one["height"], one["width"]) for one in pictures.values()
        }
        splits: dict[str, list[str]] = {"train": [], "val": []}
        for one in pictures.values():
            if one["phase"] in splits:
                splits[one["phase"]].append(Path(one["file_name"]).stem)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise OvssError(
            f"{path}: not PASCAL in Detail's trainval_merged.json, or incomplete ({reason})"
        ) from error
    label_of_id = {number: k for k, number in enumerate(CONTEXT_IDS)}
    strange = {number for pairs in masks.values() for number, _ in pairs} - label_of_id.keys()
    if strange:
        raise OvssError(
            f"{path}: has category {min(strange)}, which is none of the 59 classes of "
            "trainval_merged.json; is it another file?"
        )

    def label_of(name: str) -> np.ndarray:
        label = np.zeros(sizes[name], np.uint8)  # of overlapping masks the last one stays
        for number, code in masks.get(name, []):
            try:
                label[decode(code, *label.shape)] = label_of_id[number]
            except (TypeError, ValueError, KeyError) as error:
                raise OvssError(f"{path}: a mask of {name} is damaged ({error})") from error
        return label

    names = [name for ids in splits.values() for name in ids]
    return splits, names, label_of


def convert_coco_object(
    root: Path | None = None,
    source: Literal["maps", "instances"] = "maps",
    out: Path | None = None,
    *,
    split: str = "val",
    progress: Progress | None = None,
) -> tuple[Path, int]:
    """Write COCO-Object's labels as GroupViT's form: `…_instanceTrainIds.png`, 0..80.

    Args:
        root: COCO's folder, or one that holds it; None looks below `$OVSS_DATA`.
        source: `"maps"`: COCO-Stuff's pixel maps, as GroupViT does; `"instances"`: the masks of
            `instances_val2017.json`, as the released PnP-OVSS code does.
        out: Folder in which `annotations/val2017` is written; None takes COCO's own for
            `"maps"` and its subfolder `instances` for `"instances"`, so that the two ground
            truths never replace each other.
        split: `"val"` or `"train"`.
        progress: As for `convert_context`.

    Returns:
        The folder of labels, and how many were written.

    Raises:
        OvssError: Root, split or source is missing or damaged, or the labels cannot be written.
    """
    data = load_object_labels(source, root, split)
    base = out or (data.root if source == "maps" else data.root / "instances")
    target = base / "annotations" / f"{split}2017"
    return target, _write(target, data.ids, "_instanceTrainIds", data.label, progress)


def _write(
    target: Path,
    names: Iterable[str],
    suffix: str,
    label_of: Callable[[str], np.ndarray],
    progress: Progress | None,
) -> int:
    """Write a mode L PNG per name; returns how many."""
    names = list(names)
    count = 0
    items: Iterable[str] = names
    if progress:
        items = progress(names, f"writing {target.name}", len(names))
    for name in items:
        image = Image.fromarray(label_of(name))
        write_atomic(target / f"{name}{suffix}.png", partial(image.save, format="PNG"))
        count += 1
    return count
