"""Reading images of any common kind as 8-bit RGB; label maps as PNG."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ovsslib.errors import OvssError
from ovsslib.io.files import write_atomic
from ovsslib.io.palette import voc_palette

if TYPE_CHECKING:
    from ovsslib.types import ImageLike

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
)
"""Endings of image files in a folder."""


def open_image(source: ImageLike) -> Image.Image:
    """Open an image as 8-bit RGB, upright.

    The EXIF orientation is applied; 16-bit greyscale is scaled to 8 bits (value / 257); CMYK,
    greyscale and palette images are converted; transparent pixels are laid over white.

    Args:
        source: A file's path, a Pillow image (not changed), or an (H, W, 3) uint8 array.

    Returns:
        A new image in mode RGB, at least 1 x 1.

    Raises:
        OvssError: The file is missing, not an image, damaged or too large, or the array has
            another shape or type.

    Example:
        >>> open_image(Image.new("LA", (4, 3), (0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    if isinstance(source, Image.Image):
        return _to_rgb(source, "the image")
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or not source.size:
            raise OvssError(
                f"the image array has shape {source.shape} and type {source.dtype}; "
                "give (H, W, 3) of uint8, red green blue"
            )
        return Image.fromarray(source)
    path = Path(source)
    if not path.exists():
        raise OvssError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise OvssError(f"{path}: not a file; give an image file")
    try:
        with Image.open(path) as image:
            image.load()
            return _to_rgb(image, str(path))
    except UnidentifiedImageError:
        raise OvssError(
            f"{path}: not an image that can be read; convert it to PNG or JPEG"
        ) from None
    except Image.DecompressionBombError:
        raise OvssError(f"{path}: too many pixels; shrink it first") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OvssError(f"{path}: cannot be read ({reason}); is the file complete?") from error


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Upright 8-bit RGB copy of any Pillow image."""
    if image.width < 1 or image.height < 1:
        raise OvssError(f"{name}: has no pixels; give an image of at least 1 x 1")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow's own conversion clips at 255. 16-bit PNGs use 0..65535, and 65535 / 257 = 255.
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        grey = np.nan_to_num(np.asarray(image, np.float64))
        scale = 255.0 if grey.max() <= 1.0 else 1.0
        return Image.fromarray((grey * scale).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def save_label_png(labels: np.ndarray, path: str | os.PathLike[str]) -> Path:
    """Write a label map as a palette PNG in VOC's colours.

    Args:
        labels: (H, W) integers: 0 background, `k` the `k`-th class, 255 void; 0..255.
        path: File to write; replaced whole.

    Returns:
        The path.

    Raises:
        OvssError: A label is outside 0..255, or the file cannot be written.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not labels.size or labels.min() < 0 or labels.max() > 255:
        raise OvssError(f"{path}: a label PNG holds (H, W) labels from 0 to 255")
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(voc_palette().tobytes())
    return write_atomic(path, lambda out: image.save(out, format="PNG", optimize=False))


def find_images(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Expand files, folders and glob patterns into paths, in order and without duplicates.

    A folder stands for the images directly in it (by file name ending), sorted by name; a pattern
    with `*`, `?` or `[` for the files it matches. Other names are kept, so that a missing file is
    reported where it is opened.

    Raises:
        OvssError: A folder holds no image or a pattern matches nothing.
    """
    import glob

    paths: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = [p for p in sorted(path.iterdir()) if _is_image(p)]
            if not matches:
                raise OvssError(f"{path}: the folder holds no image; give image files")
            paths += matches
        elif glob.has_magic(str(pattern)) and not path.exists():
            matches = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
            matches = [match for match in matches if match.is_file()]
            if not matches:
                raise OvssError(f"{pattern}: the pattern matches no file; check it")
            paths += matches
        else:
            paths.append(path)
    return list(dict.fromkeys(paths))


def _is_image(path: Path) -> bool:
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
