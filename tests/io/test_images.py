"""Opening every common kind of image, and writing files whole."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.io.images import (
    find_images,
    open_image,
    save_label_png,
)
from ovsslib.io.palette import voc_palette
from support.helpers import SHARED, needs_realdata, write_photo


def test_16_bit_png_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = open_image(tmp_path / "deep.png")
    assert image.mode == "RGB"
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "ink.jpg")
    red, green, blue = open_image(tmp_path / "ink.jpg").getpixel((4, 4))
    assert red > 200
    assert green < 60
    assert blue < 60


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_over_white(tmp_path: Path, mode: str) -> None:
    clear = (10, 20, 30, 0) if mode == "RGBA" else (10, 0)
    Image.new(mode, (3, 2), clear).save(tmp_path / "clear.png")
    assert open_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)


def test_half_transparent_is_mixed(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 128)).save(tmp_path / "half.png")
    assert open_image(tmp_path / "half.png").getpixel((0, 0)) == (127, 127, 127)


def test_transparent_palette(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "gif.png", transparency=0)
    opened = open_image(tmp_path / "gif.png")
    assert [opened.getpixel((0, 0)), opened.getpixel((1, 0))] == [(255, 255, 255), (0, 0, 255)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (40, 20), "black")
    upright.paste((255, 0, 0), (0, 0, 10, 10))  # red at the top left
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "camera.jpg", exif=exif, quality=95)
    opened = open_image(tmp_path / "camera.jpg")
    assert opened.size == (40, 20)
    assert opened.getpixel((3, 3))[0] > 180
    assert opened.getpixel((35, 15))[0] < 70
    assert open_image(opened).tobytes() == opened.tobytes(), "it is turned once"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "YCbCr", "HSV", "LAB", "F", "I"])
def test_every_other_mode_becomes_rgb(mode: str) -> None:
    image = open_image(Image.new(mode, (5, 4)))
    assert image.mode == "RGB"
    assert image.size == (5, 4)


def test_array_and_its_errors() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (np.asarray(open_image(array)) == array).all()
    for wrong in (array[..., 0], array.astype(float), array[:0]):
        with pytest.raises(OvssError, match=r"\(H, W, 3\) of uint8"):
            open_image(wrong)


def test_tensor_and_its_errors() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(24, dtype=torch.uint8).reshape(3, 2, 4)
    assert (np.asarray(open_image(tensor)) == tensor.permute(1, 2, 0).numpy()).all()
    for wrong in (tensor[0], tensor / 255, tensor[:, :0], tensor[None], tensor.permute(1, 2, 0)):
        with pytest.raises(OvssError, match=r"\(3, H, W\) of uint8"):
            open_image(wrong)
    for hollow in (tensor.to("meta"), tensor.to_sparse()):
        with pytest.raises(OvssError, match="the image: cannot be read"):
            open_image(hollow)


def test_open_files_and_bytes_hold_the_same_image(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.jpg")
    wanted, data = open_image(path).tobytes(), path.read_bytes()
    with path.open("rb") as file:
        file.read(100)  # wherever it stands
        sources: list[Any] = [str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)]
        for source in [*sources, file, Image.open(path)]:
            assert open_image(source).tobytes() == wanted
        assert not file.closed


def _closed(thing: Any) -> Any:
    thing.close()
    return thing


NO_IMAGES = {
    "none": (lambda path: None, "NoneType is no image; give a path, an open binary file"),
    "number": (lambda path: 3, "int is no image"),
    "list": (lambda path: [path], "list is no image"),
    "class": (lambda path: Image.Image, "type is no image"),
    "generator": (lambda path: (_ for _ in [path]), "generator is no image"),
    "name of bytes": (os.fsencode, "not an image that can be read"),
    "no bytes": (lambda path: b"", "not an image that can be read"),
    "half the bytes": (lambda path: path.read_bytes()[:-50], "truncated"),
    "a truncated file, opened": (
        lambda path: Image.open(io.BytesIO(path.read_bytes()[:-50])),
        "truncated",
    ),
    "closed file": (lambda path: _closed(path.open("rb")), "closed file"),
    "closed image": (lambda path: _closed(Image.open(path)), "closed image"),
    "text": (lambda path: io.StringIO("text"), "cannot be read"),
    "null character": (lambda path: "a\0b", "null byte"),
    "too long": (lambda path: 5000 * "x", "File name too long"),
    "below a file": (lambda path: path / "b.jpg", "no such file"),
}


@pytest.mark.parametrize("case", NO_IMAGES)
def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    make, words = NO_IMAGES[case]
    with pytest.raises(OvssError, match=words) as caught:
        open_image(make(write_photo(tmp_path / "a.jpg")))
    assert "\n" not in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(OvssError, match="not a file"):
        open_image(tmp_path / "a.jpg")


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A block of EXIF with one table: tag, type, count, four bytes of value."""
    rows = b"".join(struct.pack("<HHL4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<LH", 8, len(entries)) + rows + bytes(4)


SIDEWAYS = (0x0112, 3, 1, b"\6\0\0\0")
DAMAGED_EXIF = {
    "a number too large for its tag": (exif((0x0100, 8, 1, b"\xfb\xff\0\0"), SIDEWAYS), True),
    "bytes where a fraction belongs": (exif(SIDEWAYS, (0x011A, 1, 1, b"a\0\0\0")), True),
    "a table that is not there": (exif(SIDEWAYS, (0x8769, 4, 1, b"\xff\xff\1\0")), True),
    "orientation 9": (exif((0x0112, 3, 1, b"\x09\0\0\0")), False),
    "orientation in words": (exif((0x0112, 2, 4, b"six\0")), False),
    "two orientations": (exif((0x0112, 3, 2, b"\6\0\6\0")), True),
    "cut off": (exif(SIDEWAYS)[:20], False),
    "no table": (b"Exif\0\0garbage", False),
}


@pytest.mark.parametrize("case", DAMAGED_EXIF)
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_metadata_do_not_hide_the_pixels(tmp_path: Path, case: str, suffix: str) -> None:
    """A readable orientation holds, whatever else is broken; and `ovss data verify` agrees."""
    from ovsslib.datasets.verify import image_size

    block, turned = DAMAGED_EXIF[case]
    path = tmp_path / f"camera.{suffix}"
    Image.new("RGB", (40, 20)).save(path, exif=block)
    assert open_image(path).size == ((20, 40) if turned else (40, 20))
    assert image_size(path) == open_image(path).size


def test_opening_does_not_change_the_argument() -> None:
    image = Image.new("RGB", (4, 4), "red")
    copy = open_image(image)
    copy.putpixel((0, 0), (0, 0, 0))
    assert image.getpixel((0, 0)) == (255, 0, 0)


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), "blue").save(tmp_path / "dot.png")
    assert open_image(str(tmp_path / "dot.png")).size == (1, 1)


def test_unreadable_files_name_themselves(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    whole = write_photo(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    cases = {"text.jpg": "not an image", "half.jpg": "cannot be read", "empty.png": "not an image"}
    cases |= {"gone.jpg": "no such file", ".": "not a file"}
    for name, words in cases.items():
        with pytest.raises(OvssError, match=words) as caught:
            open_image(tmp_path / name)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


@needs_realdata
def test_real_photographs() -> None:
    for path in sorted((SHARED / "photos").glob("*.jpg")):
        assert open_image(path).mode == "RGB"


def test_label_png_holds_indices(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 20], [255, 3, 0]], np.int16)
    path = save_label_png(labels, tmp_path / "labels.png")
    with Image.open(path) as stored:
        assert stored.mode == "P"
        assert (np.asarray(stored) == labels).all()
        colours = np.array(stored.getpalette("RGB")).reshape(-1, 3)
    assert (colours == voc_palette()).all()


@pytest.mark.parametrize(
    "bad", [np.array([[-1]]), np.array([[256]]), np.zeros(3), np.zeros((0, 2))]
)
def test_label_png_refuses_other_values(tmp_path: Path, bad: np.ndarray) -> None:
    with pytest.raises(OvssError, match="0 to 255"):
        save_label_png(bad, tmp_path / "labels.png")
    assert list(tmp_path.iterdir()) == []


def test_find_images(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    Image.new("RGB", (2, 2)).save(tmp_path / "odd[1].jpg")
    found = [p.name for p in find_images([tmp_path])]
    assert found == ["a.PNG", "b.jpg", "odd[1].jpg"]
    assert find_images([tmp_path / "*.jpg", tmp_path / "b.jpg"])[0].name == "b.jpg"
    assert [p.name for p in find_images([tmp_path / "odd[1].jpg"])] == ["odd[1].jpg"]
    assert find_images([tmp_path / "gone.jpg"]) == [tmp_path / "gone.jpg"]
    with pytest.raises(OvssError, match="matches no file"):
        find_images([tmp_path / "*.tif"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(OvssError, match="holds no image"):
        find_images([tmp_path / "bare"])
