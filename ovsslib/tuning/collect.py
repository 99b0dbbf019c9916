"""Salience maps of every layer and head from one pass per image, kept on disk.

A candidate for layer, head, threshold and blur then costs no pass of the model. Maps are those of
round 0: nothing is dropped. No label map is read here.

A folder holds `maps.u16`, one record per image (`ovsslib.tuning.store`), and `index.json`.

Letters: B images, R prompts, L layers, A heads, K classes, T text tokens, h x w = P patches.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.io.files import make_folder, write_atomic
from ovsslib.pnp.config import PnPConfig
from ovsslib.tuning.candidates import Heads
from ovsslib.tuning.store import pack, record_bytes, unpack

if TYPE_CHECKING:
    from PIL import Image

    from ovsslib.evaluate.task import Task
    from ovsslib.vlm.protocol import ImageTextMatcher

MAPS, INDEX = "maps.u16", "index.json"
_FORMAT = 1


@dataclass(frozen=True)
class _Entry:
    """One picture of a store; labels and classes in the same order, one per plane."""

    name: str
    labels: tuple[int, ...]
    classes: tuple[str, ...]


class LayerMaps:
    """Maps of every layer and head of a data set's images; see `collect`.

    Args:
        folder: Where the files are; they are mapped, not read.
        index: What `index.json` holds.
        temporary: The folder's owner, where it is to vanish with this object.

    Attributes:
        ids: Names of the images, B of them.
        labels: Of each image, the data-set label of each class.
        classes: Of each image, the K names.
        failed: Name of each image that could not be read -> the reason.
        layers: L.
        heads: A.
        grid: Rows h and columns w of patches.
        model: The matcher's name.
        config: The settings that the maps were made with.
        digest: SHA-256 of the maps.
    """

    def __init__(
        self,
        folder: Path,
        index: dict[str, Any],
        temporary: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self.folder = folder
        self._temporary = temporary
        rows = index["pictures"]
        self.ids = tuple(str(row["name"]) for row in rows)
        self.labels = tuple(tuple(int(k) for k in row["labels"]) for row in rows)
        self.classes = tuple(tuple(str(k) for k in row["classes"]) for row in rows)
        self.failed: dict[str, str] = dict(index["failed"])
        self.layers, self.heads = int(index["layers"]), int(index["heads"])
        self.grid = (int(index["grid"][0]), int(index["grid"][1]))
        self.model = str(index["model"])
        self.config = PnPConfig.from_dict(index["config"])
        self.digest = str(index["digest"])
        sizes = [record_bytes(self.layers, self.heads, len(k), self.grid) for k in self.classes]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._data = np.memmap(folder / MAPS, np.uint8, "r")
        if self._data.size != self._starts[-1]:
            raise ValueError(f"{MAPS} has {self._data.size} bytes, not {self._starts[-1]}")

    @classmethod
    def open(cls, folder: str | PathLike[str]) -> LayerMaps:
        """Open a folder that `collect` wrote.

        Raises:
            OvssError: It is not there, incomplete or damaged.
        """
        path = Path(folder)
        try:
            index = json.loads((path / INDEX).read_text(encoding="utf-8"))
            if index["format"] != _FORMAT:
                raise ValueError(f"format {index['format']}, not {_FORMAT}")
            return cls(path, index)
        except (OSError, ValueError, KeyError, TypeError, OvssError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OvssError(f"{path}: no stored maps ({reason}); collect them again") from error

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the folder itself."""
        return LayerMaps.open, (self.folder,)

    @property
    def nbytes(self) -> int:
        """Size of the maps in bytes."""
        return int(self._data.size)

    def maps(self, picture: int, layer: int, head: Heads) -> np.ndarray:
        """One image's maps.

        Args:
            picture: 0 to B-1.
            layer: 1 to L.
            head: 1 to A, several of them for their mean, or None for the mean over all.

        Returns:
            (K, h, w) float32, not negative.

        Raises:
            OvssError: There is no such image, layer or head.
        """
        heads = range(1, self.heads + 1) if head is None else np.atleast_1d(head).tolist()
        for what, values, low, high in (
            ("image", [picture], 0, len(self) - 1),
            ("layer", [layer], 1, self.layers),
            ("head", heads, 1, self.heads),
        ):
            for value in values:
                if not low <= value <= high:
                    raise OvssError(f"{what} {value} does not exist; there are {low} to {high}")
        record = self._data[self._starts[picture] : self._starts[picture + 1]]
        shape = (self.layers, self.heads, len(self.classes[picture]), *self.grid)
        # One head is a slice of the file; of several all are read.
        first = slice(heads[0] - 1, heads[0]) if len(heads) == 1 else slice(None)
        found = unpack(record, shape, layer, first)
        if 1 < len(heads) < self.heads:
            found = found[[value - 1 for value in heads]]
        return found.mean(axis=0)


def collect(  # noqa: PLR0913 - a job's settings
    matcher: ImageTextMatcher,
    work: Task,
    config: PnPConfig,
    *,
    labels: Callable[[str], Sequence[int]] | None = None,
    folder: str | PathLike[str] | None = None,
    batch: int = 8,
    progress: Callable[..., Iterable[str]] | None = None,
    max_bytes: int = 2 << 30,
) -> LayerMaps:
    """Run the model once over a task's images and keep the maps of all layers and heads.

    Args:
        matcher: The model.
        work: Which images; its protocol says by which names classes are asked for.
        config: Salience, score, prompt and input size are used; layer and head are not.
        labels: Image name -> data-set labels of its classes; None asks the task's class filter.
        folder: Where to keep the maps; what it holds of an earlier run is replaced. None takes a
            temporary folder that goes with the result.
        batch: Images in one pass of the model.
        progress: Called with names, a title and their number, like `tqdm`.
        max_bytes: Most bytes to be written.

    Returns:
        The maps. Images that cannot be read are in `failed`.

    Raises:
        OvssError: The maps would be too large, no image can be read, the model does not give all
            layers at once, or the salience does not depend on layers.
    """
    from ovsslib.pnp.all_layers import layer_maps

    if config.salience == "random":
        raise OvssError("random salience has no layers; choose gradcam or attention")
    side = (config.image_size or matcher.image_size) // matcher.patch_size
    failed: dict[str, str] = {}
    entries = _plan(work, labels, failed)
    shape = (matcher.layers, matcher.heads)
    _check_size([record_bytes(*shape, len(e.classes), (side, side)) for e in entries], max_bytes)
    temporary = None if folder is not None else tempfile.TemporaryDirectory(prefix="ovss-maps-")
    path = make_folder(temporary.name if temporary else folder or ".")
    # An old index must not outlive the maps that it describes.
    (path / INDEX).unlink(missing_ok=True)
    digest = hashlib.sha256()
    done: list[_Entry] = []

    def fill(out: BinaryIO) -> None:
        for group in _groups(work, entries, batch, progress, failed):
            pictures = [picture for _, picture in group]
            names = [entry.classes for entry, _ in group]
            for maps in layer_maps(matcher, config, pictures, names):
                record = pack(maps.reshape(*maps.shape[:3], side, side))
                digest.update(record)
                out.write(record)
            done.extend(entry for entry, _ in group)

    write_atomic(path / MAPS, fill)
    if not done:
        reason = next(iter(failed.values()), "the task has no image")
        raise OvssError(f"no image of {work.dataset.name} can be used: {reason}")
    index = {
        "format": _FORMAT,
        "model": matcher.name,
        "config": config.to_dict(),
        "layers": matcher.layers,
        "heads": matcher.heads,
        "grid": [side, side],
        "digest": digest.hexdigest(),
        "failed": failed,
        "pictures": [vars(entry) for entry in done],
    }
    write_atomic(path / INDEX, json.dumps(index, indent=1) + "\n")
    return LayerMaps(path, index, temporary)


def _check_size(sizes: Sequence[int], most: int) -> None:
    """Raise where the records do not fit."""
    total = np.cumsum(sizes)
    if len(sizes) and total[-1] > most:
        fit = int(np.searchsorted(total, most, side="right"))
        raise OvssError(
            f"maps of {len(sizes)} images take {total[-1]} bytes, more than {most}: {fit} "
            "images fit; lower the limit of images or raise max_bytes"
        )


def _groups(
    work: Task,
    entries: Sequence[_Entry],
    batch: int,
    progress: Callable[..., Iterable[str]] | None,
    failed: dict[str, str],
) -> Iterator[list[tuple[_Entry, Image.Image]]]:
    """Images, read, a batch at a time; why one is not there is noted in `failed`."""
    names: Iterable[str] = [entry.name for entry in entries]
    if progress is not None:
        names = progress(names, "maps of all layers", len(entries))
    group: list[tuple[_Entry, Image.Image]] = []
    for entry, name in zip(entries, names, strict=True):
        try:
            group.append((entry, work.dataset.image(name)))
        except OvssError as error:
            failed[name] = _plain(error, work)
        if len(group) == batch:
            yield group
            group = []
    if group:
        yield group


def _plan(
    work: Task, labels: Callable[[str], Sequence[int]] | None, failed: dict[str, str]
) -> list[_Entry]:
    """Classes of every image; why there are none is noted in `failed`."""
    from ovsslib.pnp.prompt import check_classes

    if labels is None:
        work.class_filter.prepare(work.dataset, work.ids)
    found = []
    for name in work.ids:
        try:
            given = work.class_filter(work.dataset, name) if labels is None else labels(name)
            numbers, names = work.protocol.expand(work.dataset, given)
            found.append(_Entry(name, numbers, check_classes(names, allow_empty=True)))
        except OvssError as error:
            failed[name] = _plain(error, work)
    return found


def _plain(error: OvssError, work: Task) -> str:
    """The message without the path of the machine it was made on."""
    return str(error).replace(f"{getattr(work.dataset, 'root', '')}/", "")
