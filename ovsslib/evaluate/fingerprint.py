"""What a stored part of a run stands for: one hash of all that can change a number."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ovsslib.filters.clip import open_clip_folder
from ovsslib.io.json import digest, plain
from ovsslib.methods import BESIDE, default_model
from ovsslib.paths import PACKAGE
from ovsslib.peers.hub_names import licensed, several
from ovsslib.pnp.presets import preset as get_preset
from ovsslib.vlm import find_checkpoint

if TYPE_CHECKING:
    from ovsslib.evaluate.spec import RunSpec
    from ovsslib.evaluate.task import Task

_NO_PART = frozenset({"draw", "miniature", "trained", "book", "tuning", "reports", "bench", "cli"})
"""Packages that no figure passes through; what is not named here counts."""


def folder(store: Path, spec: RunSpec, task: Task, size: int) -> Path:
    """Where the shards of a run lie.

    Args:
        store: Folder for all runs' shards.
        spec: The run.
        task: Its images.
        size: Pictures of a shard.
    """
    record = plain(dataclasses.asdict(spec)) | {
        "protocol": plain(task.protocol.to_dict()),
        "filter_settings": plain(task.class_filter.described or dict(spec.filter_settings)),
        "model": model_digest(*models_of(spec)),
        "beside": _beside(spec),
        "preset": _content(spec.preset),
        "ids": hashlib.sha256("\n".join(task.ids).encode()).hexdigest(),
        "size": size,
        "code": code_digest(),
    }
    vlm = "+".join(Path(name).name for name in several(spec.vlm))
    data = f"{task.dataset.name}-{task.dataset.split}"
    return store / f"{spec.method}_{vlm}_{data}_{digest(record, 12)}"


def _content(preset: str | None) -> str | None:
    """What stands for a preset: its name, or the settings in its file."""
    return get_preset(preset).hash() if preset and preset.endswith(".json") else preset


def _beside(spec: RunSpec) -> dict[str, str]:
    """A hash of what else the method reads, see `ovsslib.methods.BESIDE`."""
    found = {}
    for setting, default in BESIDE.get(spec.method, {}).items():
        given = spec.config.get(setting, default)
        if setting == "dino":
            from ovsslib.peers.dino import locate

            found[setting] = _hash(_inside(locate(given)))
        else:
            from ovsslib.miniature.training.cache import DRAWING
            from ovsslib.peers.archive import listing

            found[setting] = digest(listing(Path(given)) if given else DRAWING, 12)
    return found


def models_of(spec: RunSpec) -> tuple[str, ...]:
    """The models that a method loads; it adds its own to a name that stands for fewer.

    Example:
        >>> from ovsslib.evaluate.spec import RunSpec
        >>> models_of(RunSpec(method="owlv2-sam2", vlm="google/owlv2-large-patch14"))
        ('google/owlv2-large-patch14', 'facebook/sam2.1-hiera-tiny')
    """
    named = several(spec.vlm)
    return named + several(default_model(spec.method))[len(named) :]


@functools.cache
def model_digest(*models: str) -> str:
    """A hash of models' files: their names, sizes and, up to 64 MiB each, their bytes.

    Larger files are known by their first and last MiB: reading gigabytes takes longer than a shard.
    Several models joined by a plus count one after another; weights that open_clip knows by a name,
    such as `ViT-B-16-quickgelu:openai`, stand for themselves.
    """
    return _hash(path for vlm in models for name in several(vlm) for path in _files(name))


def _hash(paths: Iterable[Path]) -> str:
    """A hash of files in their order, see `model_digest`."""
    sha = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        sha.update(f"{path.name} {size}\n".encode())
        with open(path, "rb") as stream:
            if size <= 64 << 20:
                sha.update(stream.read())
            else:
                sha.update(stream.read(1 << 20))
                stream.seek(-(1 << 20), os.SEEK_END)
                sha.update(stream.read())
    return sha.hexdigest()


def locate_model(name: str, *, download: bool = False) -> Path | None:
    """The folder or file of one model; None for weights that open_clip knows by a name.

    Args:
        name: A name, a folder, a hub id, an address, or open_clip's `"architecture:weights"`.
        download: Whether the network may be used for a hub id or an address.

    Raises:
        OvssError: There is no such model here, or it cannot be fetched.
    """
    found = open_clip_folder(name)
    if found is None:
        architecture, _, weights = name.partition(":")
        if weights:
            import open_clip

            if architecture.replace("/", "-") in open_clip.list_models():
                return Path(weights) if Path(weights).is_file() else None
        with licensed(name):
            found = find_checkpoint(name, download=download)
    return found


def _files(name: str) -> list[Path]:
    """The files of one model, in their order."""
    place = locate_model(name)
    if place is None:
        return []
    return [place] if place.is_file() else _inside(place)


def _inside(folder: Path) -> list[Path]:
    """The files of a model's folder by name, and those of the CLIP in it (`save_head`)."""
    files = (*folder.iterdir(), *folder.glob("clip/*"))
    return sorted(path for path in files if path.is_file())


@functools.cache
def code_digest() -> str:
    """A hash of this library's source files, without packages that have no part in a figure."""
    root = PACKAGE
    sha = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] not in _NO_PART:
            sha.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return sha.hexdigest()
