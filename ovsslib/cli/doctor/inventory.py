"""Which checkpoints and data sets are on this machine, and the command that gets the others.

Folders are looked at, nothing is opened in full and nothing comes from the network.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ovsslib.cli.doctor.machine import Row
from ovsslib.errors import OvssError
from ovsslib.io.download import cache_folder, hub_snapshot

HUB_MODELS: dict[str, str] = {
    "Salesforce/blip-itm-large-flickr": "the paper's BLIP",
    "Salesforce/blip-itm-large-coco": "BLIP",
    "Salesforce/blip-itm-base-flickr": "BLIP, smaller",
    "Salesforce/blip-itm-base-coco": "BLIP, smaller",
    "BridgeTower/bridgetower-large-itm-mlm-itc": "BridgeTower",
    "BridgeTower/bridgetower-base-itm-mlm": "BridgeTower, smaller",
}
"""Hub id -> what it is."""
LAVIS_FILE = "model_large_retrieval_flickr.pth"
_LAVIS_URL = f"https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/{LAVIS_FILE}"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SHIPPED: dict[str, tuple[tuple[str, ...], ...]] = {
    "micro-clip": (
        ("open_clip_config.json",),
        ("open_clip_model.safetensors",),
        ("tokenizer.json",),
    )
}
# Each group needs one of its files; the index stands for the parts of a large model.
_FILES: tuple[tuple[str, ...], ...] = (
    ("config.json",),
    (*_WEIGHTS, *(f"{name}.index.json" for name in _WEIGHTS)),
    ("tokenizer.json", "vocab.txt", "vocab.json"),
)


def model_rows(hub: Mapping[str, str] | None = None) -> list[Row]:
    """Which checkpoints are on this machine: shipped ones, the hub's cache, LAVIS's file.

    Args:
        hub: Hub ids to look for, each with what it is; None takes `HUB_MODELS`.
    """
    from ovsslib.vlm import MICRO_MODELS, checkpoint_roots

    rows = []
    for name in dict.fromkeys((*MICRO_MODELS, *_SHIPPED)):
        folders = [root / name for root in checkpoint_roots() if (root / name).is_dir()]
        rows.append(
            _checkpoint(
                name,
                folders[0] if folders else None,
                "shipped with the project",
                f"ovss train {name}",
                required=name == "micro-blip",
            )
        )
    for repo, what in (HUB_MODELS if hub is None else hub).items():
        rows.append(_checkpoint(repo, hub_snapshot(repo), what, f"hf download {repo}"))
    return [*rows, _lavis_row()]


def _checkpoint(
    name: str, folder: Path | None, what: str, command: str, *, required: bool = False
) -> Row:
    """The row of a folder that should hold a model."""
    if folder is None:
        return Row("models", name, "missing", what, required, command)
    for group in _SHIPPED.get(name, _FILES):
        # A link whose target the hub's library has not finished is no file.
        there = [file for file in group if (folder / file).is_file()]
        if not there or not any((folder / file).stat().st_size for file in there):
            detail = f"{folder} lacks {' or '.join(group)}"
            return Row("models", name, "broken", detail, required, command)
    return Row("models", name, "ok", str(folder), required)


def _lavis_row() -> Row:
    """LAVIS's own file of the paper's model: in our cache, or where LAVIS keeps it."""
    shelf = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or shelf / "torch")
    shelves = [*cache_folder().glob("checkpoints/*"), torch_home / "hub" / "checkpoints"]
    for folder in shelves:
        if (folder / LAVIS_FILE).is_file():
            return Row("models", LAVIS_FILE, "ok", str(folder / LAVIS_FILE))
    detail = "the paper's BLIP in LAVIS's format, read with BERT's tokenizer; --vlm takes its path"
    target = cache_folder() / "checkpoints" / "lavis" / LAVIS_FILE
    command = (
        f"curl -fL --create-dirs -o {shlex.quote(str(target))} {_LAVIS_URL} && "
        "hf download google-bert/bert-base-uncased tokenizer.json"
    )
    return Row("models", LAVIS_FILE, "missing", detail, command=command)


DATA_COMMANDS: dict[str, str] = {
    "diorama": "ovss diorama make --split val --n 200 --out {shipped}",
    "voc": "ovss data download voc",
    "context": "ovss data download context && ovss data convert context",
    "coco-object": "ovss data download coco-object",
    "coco-object-instances": "ovss data download coco-object-instances",
    "coco-stuff": "ovss data download coco-stuff",
    "ade20k": "ovss data download ade20k",
}
"""Data set -> what gets it."""


def data_rows(opened: Mapping[str, Callable[[], Any]] | None = None) -> list[Row]:
    """Which data sets are found, and whether the images and masks of their split are there.

    Args:
        opened: Data set -> a function that opens it; None takes one name per set of files in the
            registry, split `val`.
    """
    if opened is None:
        try:
            from ovsslib.datasets import FILES, load_dataset
        except ImportError as error:  # numpy or pillow, which the packages' rows tell of
            return [Row("data", "all", "broken", f"cannot be looked for: {error}", True)]
        opened = {name: partial(load_dataset, name) for name in FILES}
    return [_data_set(name, open_it) for name, open_it in opened.items()]


def _data_set(name: str, open_it: Callable[[], Any]) -> Row:
    from ovsslib.datasets.diorama import SHIPPED

    required = name == "diorama"
    command = DATA_COMMANDS.get(name, "").replace("{shipped}", _short(SHIPPED))
    if not required and not os.environ.get("OVSS_DATA"):
        command = f'export OVSS_DATA="$HOME/data" && {command}'
    try:
        data = open_it()
    except OvssError as error:
        return Row("data", name, "missing", " ".join(str(error).split()), required, command)
    root, count = data.root, len(data.ids)
    if lacking := _lacking(data):
        detail = f"{root} lacks images or masks of {lacking} of {count} in {data.split}"
        return Row("data", name, "broken", detail, required, command)
    detail = f"{count} images in {data.split}, {root}"
    expected = data.layout.expected.get(data.split, (count,))
    if count not in expected:
        detail += f"; {' or '.join(map(str, expected))} are usual"
    return Row("data", name, "ok", detail, required)


def _lacking(data: Any) -> int:
    """How many names of a split lack their image or their label file."""
    listed: dict[Path, set[str]] = {}

    def there(path: Path | None) -> bool:
        if path is None:  # labels without files of their own
            return True
        if path.parent not in listed:
            folder = path.parent
            listed[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
        return path.name in listed[path.parent]

    both = ((data.image_path(name), data.label_path(name)) for name in data.ids)
    return sum(not (there(image) and there(label)) for image, label in both)


def _short(path: Path) -> str:
    """A path relative to the working folder where it lies in it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
