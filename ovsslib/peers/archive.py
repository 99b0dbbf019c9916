"""An archive of unlabelled images in which CLIP looks texts up.

CLIP's feature of each whole image is kept in an index in the cache folder. It is made anew when
names or sizes (bytes) of the images, the model's weights or the index's own form have changed.

Letters: N images, E width of the space that images and texts share.
"""

from __future__ import annotations

import json
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError
from ovsslib.io.download import cache_folder
from ovsslib.io.files import make_folder, write_atomic
from ovsslib.io.images import DAMAGE, IMAGE_SUFFIXES, open_image
from ovsslib.io.json import digest
from ovsslib.vlm.state import own_state
from ovsslib.vlm.weights import weights_digest

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ovsslib.peers.tower import Tower

VERSION = 1
"""Of the index's form; raised when what stands in an index changes."""
BATCH = 32
"""Images that go through CLIP together."""


@dataclass(frozen=True)
class Archive:
    """Images and CLIP's features of them.

    Attributes:
        folder: Where they lie.
        names: Their N paths below it, with `/` between folders.
        features: (N, E) float32 unit vectors on the CPU.
    """

    folder: Path
    names: tuple[str, ...]
    features: Tensor

    def nearest(self, text: Tensor, count: int) -> list[str]:
        """Names of the images that are most like a text, the likest first.

        Args:
            text: (E,) unit vector.
            count: How many; all of them where there are fewer.
        """
        cosines = self.features @ text.float().cpu()
        order = cosines.argsort(descending=True, stable=True)[:count]
        return [self.names[row] for row in order.tolist()]

    def images(self, names: Sequence[str]) -> list[Image.Image]:
        """Images by name, upright RGB.

        Raises:
            OvssError: One cannot be read.
        """
        return [open_image(self.folder / name) for name in names]


@own_state()
def open_archive(folder: Path, tower: Tower) -> Archive:
    """A folder of images with its index, which is made where there is none that fits.

    Images that cannot be read are left out, with a warning.

    Args:
        folder: Images of any kind, in folders below it too; hidden ones do not count.
        tower: The CLIP. It sees images squashed to the square that it was trained with.

    Raises:
        OvssError: There is no such folder, it holds no readable image, or the index cannot be
            written.
    """
    files = listing(folder)
    facts = json.dumps({"version": VERSION, "weights": weights_digest(tower.model), "files": files})
    path = cache_folder() / "archives" / f"{digest([str(folder.resolve()), tower.name], 16)}.npz"
    stored = _read(path, facts)
    names, features = stored or _made(folder, tower, [name for name, _ in files])
    if stored is None:
        texts = np.array([facts, json.dumps(names)])
        write_atomic(path, lambda out: np.savez(out, texts=texts, features=features))
    return Archive(folder, tuple(names), torch.from_numpy(features))


def diorama_images(count: int) -> Path:
    """The first images of Diorama's train split, drawn into the cache folder where they lack.

    They are those of `ovss diorama make --split train`; their masks are not kept. A thousand take
    about half a minute.

    Args:
        count: How many.

    Returns:
        A folder with these images and nothing else.

    Raises:
        OvssError: They cannot be written.
    """
    from ovsslib.miniature.diorama.make import JPEG_QUALITY, split_scene
    from ovsslib.miniature.diorama.scene import render
    from ovsslib.miniature.training.cache import DRAWING

    shelf = make_folder(cache_folder() / "archives")
    folder = shelf / f"diorama-train-v{DRAWING['train']}-{count}"
    if folder.is_dir():
        return folder
    try:
        with tempfile.TemporaryDirectory(prefix=".drawing-", dir=shelf) as temporary:
            part = Path(temporary) / "images"
            part.mkdir()
            for index in range(count):
                picture, _ = render(split_scene("train", 0, index))
                picture.save(part / f"train_{index:05d}.jpg", quality=JPEG_QUALITY)
            part.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # no other process was faster
            raise OvssError(
                f"{folder}: images cannot be written there ({error.strerror or error}); free the "
                "space or set OVSS_CACHE to another folder"
            ) from error
    return folder


def image_features(tower: Tower, images: Sequence[Image.Image]) -> Tensor:
    """CLIP's features of whole images: (N, E) float32 unit vectors on the CPU."""
    tokens = tower.parts.blocks[-1].whole(tower.enter(tower.prepare(images)))
    return F.normalize(tower.parts.project(tokens)[:, 0].float(), dim=-1).cpu()


def listing(folder: Path) -> list[tuple[str, int]]:
    """Name and bytes of each image below a folder, sorted by name.

    Raises:
        OvssError: There is no such folder, or it holds no image.
    """
    if not folder.is_dir():
        raise OvssError(f"{folder}: there is no such folder; name one with images as the archive")
    found = [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    ]
    shown = sorted((name, size) for name, size in found if "/." not in f"/{name}")
    if not shown:
        raise OvssError(f"{folder}: holds no image; name a folder with images as the archive")
    return shown


def _read(path: Path, facts: str) -> tuple[list[str], np.ndarray] | None:
    """Names and features (N, E) of an index; None where it is missing, damaged or outdated."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            (before, listing), features = stored["texts"].tolist(), stored["features"]
        if before != facts:
            return None
        names = json.loads(listing)
        if features.dtype != np.float32 or features.shape[:-1] != (len(names),):
            raise ValueError("names and features do not match")
        if not np.isfinite(features).all():
            raise ValueError("features are not finite")
    except (*DAMAGE, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"{path}: the archive's index is damaged ({reason}); it is made anew", stacklevel=3
        )
        return None
    return names, features


def _made(folder: Path, tower: Tower, names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Names of the images that can be read, and their features (N, E)."""
    kept: list[str] = []
    features: list[Tensor] = []
    unread: list[OvssError] = []
    for start in range(0, len(names), BATCH):
        images = []
        for name in names[start : start + BATCH]:
            try:
                images.append(open_image(folder / name))
                kept.append(name)
            except OvssError as error:
                unread.append(error)
        if images:
            features.append(image_features(tower, images))
    if not kept:
        raise OvssError(f"{folder}: no image of the archive can be read ({unread[0]})")
    if unread:
        warnings.warn(
            f"{len(unread)} images of the archive were left out: {unread[0]}", stacklevel=4
        )
    return kept, torch.cat(features).numpy()
