"""Salience maps of every layer and head from one pass per image, kept on disk.

A candidate for layer, head, threshold and blur then costs no pass of the model. Maps are those of
round 0: nothing is dropped. No label map is read here.

A file holds one record per image: a float32 step per map, then (L, A, K, h, w) uint16, the number
of steps. Thresholds are shares of a map's largest value, and so is the error: 1/131070 of it. Half
precision has the same size, but an error of up to 1/4096 of each value, which puts more patches on
the other side.

Letters: B images, L layers, A heads, K classes, h x w patches.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.io.files import write_atomic
from ovsslib.pnp.config import PnPConfig
from ovsslib.vlm.finite import check_scores

if TYPE_CHECKING:
    from PIL import Image

    from ovsslib.datasets.base import Dataset
    from ovsslib.filters.base import ClassFilter
    from ovsslib.protocols.protocol import Protocol
    from ovsslib.types import Progress
    from ovsslib.vlm.protocol import ImageTextMatcher

MAX_BYTES = 2 << 30
"""Most bytes of maps that are written."""
_MOST = 65535
_ALIGN = 64
_LEAST = 1e-38
"""The smallest step: float32 has fewer digits for smaller numbers."""


@dataclass(frozen=True)
class Images:
    """Which images, and which classes are asked for in them.

    Attributes:
        dataset: Where the images are; label maps are not read.
        protocol: Resolved for the data set; says by which names classes are asked for.
        class_filter: Says which classes an image has.
        limit: The first so many images; None for all.
    """

    dataset: Dataset
    protocol: Protocol
    class_filter: ClassFilter
    limit: int | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the images."""
        return self.dataset.ids[: self.limit]

    def reason(self, error: OvssError) -> str:
        """An error's message without the path of the machine."""
        return str(error).replace(f"{getattr(self.dataset, 'root', '')}/", "")


@dataclass(frozen=True)
class _Entry:
    """An image of the store; labels and classes in the same order, one per plane."""

    name: str
    labels: tuple[int, ...]
    classes: tuple[str, ...]


class LayerMaps:
    """Maps of every layer and head of a data set's images; see `collect`.

    Args:
        file: The records, one per image; mapped, not read.
        entries: Name, labels and classes of each image.
        failed: Name of each image that could not be read -> the reason.
        matcher: The model that made the maps.
        config: The settings that the maps were made with.
        digest: SHA-256 of the maps.
        temporary: The folder of the file, which vanishes with this object.

    Attributes:
        ids: Names of the images, B of them.
        labels: Of each image, the data-set label of each class.
        classes: Of each image, the K names.
        layers: L.
        heads: A.
        grid: Rows h and columns w of patches.
        model: The matcher's name.
    """

    def __init__(
        self,
        file: Path,
        entries: Sequence[_Entry],
        failed: dict[str, str],
        matcher: ImageTextMatcher,
        config: PnPConfig,
        digest: str,
        temporary: tempfile.TemporaryDirectory[str],
    ) -> None:
        self.ids = tuple(entry.name for entry in entries)
        self.labels = tuple(entry.labels for entry in entries)
        self.classes = tuple(entry.classes for entry in entries)
        self.failed = failed
        self.layers, self.heads, self.model = matcher.layers, matcher.heads, matcher.name
        self.grid = _grid(matcher, config)
        self.config = config
        self.digest = digest
        sizes = [record_bytes(self.layers, self.heads, len(k), self.grid) for k in self.classes]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._temporary = temporary
        self._data = np.memmap(file, np.uint8, "r")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Size of the maps in bytes."""
        return int(self._data.size)

    def maps(self, image: int, layer: int, head: int | None) -> np.ndarray:
        """One image's maps.

        Args:
            image: 0 to B-1.
            layer: 1 to L.
            head: 1 to A, or None for the mean over all.

        Returns:
            (K, h, w) float32, not negative.

        Raises:
            OvssError: There is no such image, layer or head.
        """
        for what, value, low, high in (
            ("image", image, 0, len(self) - 1),
            ("layer", layer, 1, self.layers),
            ("head", 1 if head is None else head, 1, self.heads),
        ):
            if not low <= value <= high:
                raise OvssError(f"{what} {value} does not exist; there are {low} to {high}")
        record = self._data[self._starts[image] : self._starts[image + 1]]
        shape = (self.layers, self.heads, len(self.classes[image]), *self.grid)
        # One head is a slice of the file; for the mean all are read.
        heads = slice(None) if head is None else slice(head - 1, head)
        return unpack(record, shape, layer, heads).mean(axis=0)


def collect(
    matcher: ImageTextMatcher,
    images: Images,
    config: PnPConfig,
    *,
    batch: int = 8,
    progress: Progress | None = None,
) -> LayerMaps:
    """Run the model once over images and keep the maps of all layers and heads.

    Args:
        matcher: The model.
        images: Which, and their classes.
        config: Salience, score, prompt and input size are used; layer and head are not.
        batch: Images in one pass of the model.
        progress: Shows progress, image by image.

    Returns:
        The maps. Images that cannot be read are in `failed`.

    Raises:
        OvssError: The maps would be larger than `MAX_BYTES`, no image can be read, the model does
            not give all layers at once or maps that are not finite, or the salience does not
            depend on layers.
    """
    from ovsslib.pnp.all_layers import layer_maps

    if config.salience == "random":
        raise OvssError("random salience has no layers; choose gradcam or attention")
    grid = _grid(matcher, config)
    failed: dict[str, str] = {}
    entries = _entries(images, failed)
    shape = (matcher.layers, matcher.heads)
    _check_size([record_bytes(*shape, len(e.classes), grid) for e in entries])
    temporary = tempfile.TemporaryDirectory(prefix="ovss-maps-")
    file = Path(temporary.name) / "maps.u16"
    digest = hashlib.sha256()
    done: list[_Entry] = []

    def fill(out: BinaryIO) -> None:
        for group in _groups(images, entries, batch, progress, failed):
            names = [entry.classes for entry, _ in group]
            each = layer_maps(matcher, config, [image for _, image in group], names)
            for (entry, _), maps in zip(group, each, strict=True):
                check_scores(maps, f"{entry.name}: {matcher.name}")
                record = pack(maps.reshape(*maps.shape[:3], *grid))
                digest.update(record)
                out.write(record)
            done.extend(entry for entry, _ in group)

    write_atomic(file, fill)
    if not any(entry.classes for entry in done):
        reason = next(iter(failed.values()), "no class is given for any")
        raise OvssError(f"no image of {images.dataset.name} can be used: {reason}")
    return LayerMaps(file, done, failed, matcher, config, digest.hexdigest(), temporary)


def _grid(matcher: ImageTextMatcher, config: PnPConfig) -> tuple[int, int]:
    """Rows and columns of patches of an image."""
    side = (config.image_size or matcher.image_size) // matcher.patch_size
    return side, side


def _check_size(sizes: Sequence[int]) -> None:
    """Raise where the records do not fit."""
    total = np.cumsum(sizes)
    if len(sizes) and total[-1] > MAX_BYTES:
        fit = int(np.searchsorted(total, MAX_BYTES, side="right"))
        raise OvssError(
            f"maps of {len(sizes)} images take {total[-1]} bytes, more than {MAX_BYTES}: {fit} "
            "images fit; lower the limit of images"
        )


def _entries(images: Images, failed: dict[str, str]) -> list[_Entry]:
    """Classes of every image; why there are none is noted in `failed`."""
    from ovsslib.pnp.prompt import check_classes

    images.class_filter.prepare(images.dataset, images.ids)
    entries = []
    for name in images.ids:
        try:
            labels = images.class_filter(images.dataset, name)
            expanded, names = images.protocol.expand(images.dataset, labels)
            entries.append(_Entry(name, expanded, check_classes(names, allow_empty=True)))
        except OvssError as error:
            failed[name] = images.reason(error)
    return entries


def _groups(
    images: Images,
    entries: Sequence[_Entry],
    batch: int,
    progress: Progress | None,
    failed: dict[str, str],
) -> Iterator[list[tuple[_Entry, Image.Image]]]:
    """Images, read, a batch at a time; why one is not there is noted in `failed`."""
    shown: Iterable[_Entry] = entries
    if progress is not None:
        shown = progress(entries, "maps of all layers", len(entries))
    group: list[tuple[_Entry, Image.Image]] = []
    for entry in shown:
        try:
            group.append((entry, images.dataset.image(entry.name)))
        except OvssError as error:
            failed[entry.name] = images.reason(error)
        if len(group) == batch:
            yield group
            group = []
    if group:
        yield group


def record_bytes(layers: int, heads: int, classes: int, grid: tuple[int, int]) -> int:
    """Bytes of one image's maps, padded to whole cache lines.

    Example:
        >>> record_bytes(12, 12, 3, (21, 21))
        382784
    """
    size = layers * heads * classes * (4 + 2 * grid[0] * grid[1])
    return -(-size // _ALIGN) * _ALIGN


def pack(maps: np.ndarray) -> bytes:
    """One image's record.

    Args:
        maps: (L, A, K, h, w), not negative.

    Returns:
        `record_bytes` bytes.
    """
    layers, heads, classes, height, width = maps.shape
    peaks = maps.max(axis=(3, 4), initial=0).astype(np.float64)
    steps = np.maximum(peaks / _MOST, _LEAST).astype(np.float32)
    values = np.rint(maps / steps[..., None, None].astype(np.float64)).astype(np.uint16)
    record = steps.tobytes() + values.tobytes()
    return record.ljust(record_bytes(layers, heads, classes, (height, width)), b"\0")


def unpack(
    record: np.ndarray, shape: tuple[int, int, int, int, int], layer: int, heads: slice
) -> np.ndarray:
    """Maps of some heads of a layer.

    Args:
        record: Its bytes, as uint8; only those needed are read.
        shape: L, A, K, h, w.
        layer: 1 to L.
        heads: Which, counted from 0.

    Returns:
        (heads, K, h, w) float32.
    """
    edge = 4 * int(np.prod(shape[:3]))
    steps = record[:edge].view(np.float32).reshape(shape[:3])[layer - 1, heads]
    values = record[edge : edge + 2 * int(np.prod(shape))].view(np.uint16).reshape(shape)
    return np.asarray(values[layer - 1, heads].astype(np.float32) * steps[..., None, None])
