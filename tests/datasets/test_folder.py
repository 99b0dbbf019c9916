"""Label files: stored numbers come out as stored, however the PNG packs them; colours never do."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovsslib.datasets import LAYOUTS, load_dataset
from ovsslib.datasets.folder import (
    ILLEGAL,
    LabelError,
    label_table,
    legal_values,
    plain_table,
    read_label,
)
from ovsslib.io.palette import voc_palette
from support.helpers import write_voc


def packed_png(values: list[int], bits: int) -> bytes:
    """A grey PNG of one row with so many bits a pixel, as programs that shrink PNGs write it."""
    row = "".join(f"{value:0{bits}b}" for value in values)
    row += "0" * (-len(row) % 8)
    data = b"\0" + int(row, 2).to_bytes(len(row) // 8, "big")

    def chunk(kind: bytes, content: bytes) -> bytes:
        size, check = struct.pack(">I", len(content)), zlib.crc32(kind + content)
        return size + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_packed_grey_is_read_as_stored(tmp_path: Path, bits: int) -> None:
    """Pillow would make 85 of 1 in two bits, and ADE20K and COCO have a class 85."""
    values = list(range(min(1 << bits, 151)))
    path = tmp_path / "packed.png"
    path.write_bytes(packed_png(values, bits))
    assert read_label(path).tolist() == [values]
    assert read_label(path).dtype == np.uint8


@pytest.mark.parametrize("colours", [2, 4, 16, 256])
def test_packed_palettes_are_read_as_stored(tmp_path: Path, colours: int) -> None:
    values = np.arange(colours, dtype=np.uint8)[None]
    image = Image.fromarray(values)
    image.putpalette(voc_palette()[:colours].tobytes())
    image.save(tmp_path / "p.png", bits=(colours - 1).bit_length(), optimize=True)
    assert (read_label(tmp_path / "p.png") == values).all()


@pytest.mark.parametrize(
    ("mode", "kind", "mend"),
    [
        *(
            (mode, "label in colours", "convert it back to indices")
            for mode in ("RGB", "RGBA", "LA")
        ),
        ("I;16", "label in 16 bits", "save the same numbers as 8-bit grey"),
    ],
)
def test_other_modes_are_refused(tmp_path: Path, mode: str, kind: str, mend: str) -> None:
    Image.new(mode, (2, 2)).save(tmp_path / "label.png")
    with pytest.raises(LabelError, match=rf"mode {mode}.*{mend}") as error:
        read_label(tmp_path / "label.png")
    assert error.value.kind == kind


def test_kinds_of_errors(tmp_path: Path) -> None:
    with pytest.raises(LabelError) as error:
        read_label(tmp_path / "none.png")
    assert error.value.kind == "label missing"
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(LabelError) as error:
        read_label(tmp_path / "text.png")
    assert error.value.kind == "label unreadable"
    data = load_dataset("voc", write_voc(tmp_path, 1))
    path = data.label_path("img_0000")
    assert path is not None
    Image.fromarray(np.full((36, 48), 21, np.uint8)).save(path)
    with pytest.raises(LabelError) as error:
        data.label("img_0000")
    assert error.value.kind == "label values"


def test_tables() -> None:
    table = label_table({0: 0, 7: 1, 255: 255})
    assert (table[0], table[7], table[255]) == (0, 1, 255)
    assert (np.delete(table, [0, 7, 255]) == ILLEGAL).all()
    assert legal_values(table) == "0, 7 and 255"
    assert legal_values(label_table({5: 1})) == "5"


@pytest.mark.parametrize("name", LAYOUTS)
def test_plain_tables_shift_nothing(name: str) -> None:
    """Classes keep their numbers with and without background; 255 cannot run over to 0."""
    layout = LAYOUTS[name]
    table = plain_table(layout, void=True)
    count = len(layout.classes)
    assert table[1 : count + 1].tolist() == list(range(1, count + 1))
    assert table[255] == 255
    assert table[0] == (255 if layout.zero_is_void else 0)
    assert (table[count + 1 : 255] == ILLEGAL).all()
    assert count < ILLEGAL


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    layout = LAYOUTS[name]
    assert layout.name == name
    assert len(set(layout.classes)) == len(layout.classes)
    assert layout.things <= set(range(1, len(layout.classes) + 1))
    assert not (layout.background and layout.zero_is_void)
    assert layout.below


def test_a_label_is_a_new_array(tmp_path: Path) -> None:
    """What a caller does to a label changes no other reading of it."""
    data = load_dataset("voc", write_voc(tmp_path, 1))
    first = data.label("img_0000")
    copy = first.copy()
    first[:] = 3
    assert (data.label("img_0000") == copy).all()
    assert data.table[0] == 0


def test_palette_and_grey_labels_are_the_same(tmp_path: Path) -> None:
    """Both store the class number; converting a palette PNG to grey would give its luminance."""
    values = np.array([[0, 1, 15, 20, 255]], np.uint8)
    grey = Image.fromarray(values)
    grey.save(tmp_path / "l.png")
    grey.putpalette(voc_palette().tobytes())
    grey.save(tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").mode == "P"
    for name in ("l.png", "p.png"):
        assert (read_label(tmp_path / name) == values).all()
