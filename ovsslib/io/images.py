"""Reading images of any common kind as 8-bit RGB; label maps as PNG."""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ovsslib.errors import OvssError
from ovsslib.io.files import write_atomic
from ovsslib.io.palette import voc_palette

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

    from ovsslib.types import ImageLike

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
)
"""Endings of image files in a folder."""
DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises in damaged files."""
_ORIENTATION = 0x0112
# EXIF's orientation -> what makes the image upright; from 5 on width and height change places.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(source: ImageLike) -> Image.Image:
    """Open an image as 8-bit RGB, upright.

    The EXIF orientation is applied; 16-bit greyscale is scaled to 8 bits (value / 257); CMYK,
    greyscale and palette images are converted; transparent pixels are laid over white.

    Args:
        source: A file's path, an open binary file or its content as bytes, a Pillow image (not
            changed), an (H, W, 3) uint8 array, or a (3, H, W) uint8 tensor.

    Returns:
        A new image in mode RGB, at least 1 x 1, without metadata.

    Raises:
        OvssError: The file is missing, closed, not an image, damaged or too large, the array or
            tensor has another shape or type, or the source is something else.

    Example:
        >>> open_image(Image.new("LA", (4, 3), (0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    path = os.fsdecode(source) or "." if isinstance(source, str | os.PathLike) else None
    name, torch = path or "the image", sys.modules.get("torch")
    try:
        if isinstance(source, np.ndarray) or (torch and isinstance(source, torch.Tensor)):
            return Image.fromarray(_array(source))
        if isinstance(source, Image.Image):
            return _to_rgb(source, name)
        if path and not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block for ever
            raise OvssError(f"{name}: not a file; give an image file")
        with Image.open(path or _file(source)) as image:
            image.load()
            return _to_rgb(image, name)
    except (FileNotFoundError, NotADirectoryError):
        raise OvssError(f"{name}: no such file; check the path") from None
    except UnidentifiedImageError:
        raise OvssError(
            f"{name}: not an image that can be read; convert it to PNG or JPEG"
        ) from None
    except Image.DecompressionBombError:
        raise OvssError(f"{name}: too many pixels; shrink it first") from None
    except DAMAGE as error:
        system = getattr(error, "strerror", None)
        reason = system or " ".join(str(error).split()) or type(error).__name__
        advice = "check the path and its rights" if system else "is it complete, and open?"
        raise OvssError(f"{name}: cannot be read ({reason}); {advice}") from error


def _file(source: Any) -> Any:
    """An open file, or bytes as one."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if hasattr(source, "read"):
        return source
    raise OvssError(
        f"{type(source).__name__} is no image; give a path, an open binary file, bytes, a Pillow "
        "image, an (H, W, 3) uint8 array or a (3, H, W) uint8 tensor"
    )


def _array(source: Any) -> np.ndarray:
    """The (H, W, 3) uint8 array of an array or a tensor."""
    tensor = not isinstance(source, np.ndarray)
    shape, form = tuple(source.shape), "(3, H, W)" if tensor else "(H, W, 3)"
    fits = len(shape) == 3 and shape[0 if tensor else 2] == 3 and 0 not in shape
    if not fits or str(source.dtype).removeprefix("torch.") != "uint8":
        raise OvssError(
            f"the image {'tensor' if tensor else 'array'} has shape {shape} and type "
            f"{source.dtype}; give {form} of uint8, red green blue"
        )
    return np.asarray(source.cpu().permute(1, 2, 0) if tensor else source)


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1, upright, where there is none or it is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION)
        return int(value) if value in _TURNS else 1
    except DAMAGE:  # of the metadata only: the pixels are whole
        return 1


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Upright 8-bit RGB copy of any Pillow image."""
    if image.width < 1 or image.height < 1:
        raise OvssError(f"{name}: has no pixels; give an image of at least 1 x 1")
    turn = _TURNS.get(orientation(image))
    copy = _eight_bits(image if turn is None else image.transpose(turn))
    copy.info = {}  # whoever opens the copy again must not turn it again
    return copy


def _eight_bits(image: Image.Image) -> Image.Image:
    """RGB copy."""
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


def save_label_png(
    labels: np.ndarray, path: str | os.PathLike[str], text: PngInfo | None = None
) -> Path:
    """Write a label map as a palette PNG in VOC's colours.

    Args:
        labels: (H, W) integers: 0 background, `k` the `k`-th class, 255 void; 0..255.
        path: File to write; replaced whole.
        text: Chunks of text for the file.

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
    return write_atomic(path, lambda out: image.save(out, format="PNG", pnginfo=text))


def find_images(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Expand files, folders and glob patterns into paths, in order and without duplicates.

    A folder stands for the images directly in it (by file name ending), sorted by name; a pattern
    with `*`, `?` or `[` for the files it matches. Other names are kept, so that a missing file is
    reported where it is opened.

    Raises:
        OvssError: A folder cannot be read or holds no image, or a pattern matches nothing.
    """
    import glob

    paths: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if os.path.isdir(path):
            try:
                matches = [p for p in sorted(path.iterdir()) if _is_image(p)]
            except OSError as error:
                raise OvssError(f"{path}: cannot be read ({error.strerror})") from error
            if not matches:
                raise OvssError(f"{path}: the folder holds no image; give image files")
            paths += matches
        elif glob.has_magic(str(pattern)) and not os.path.lexists(path):
            matches = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
            matches = [match for match in matches if not os.path.isdir(match)]
            if not matches:
                raise OvssError(f"{pattern}: the pattern matches no file; check it")
            paths += matches
        else:
            paths.append(path)
    return list(dict.fromkeys(paths))


def _is_image(path: Path) -> bool:
    # What is no file, or must not be looked at, is reported where it is opened.
    named = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    return named and not os.path.isdir(path)
