"""Every kind of fault that `verify` reports, in small data sets that have exactly this one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovsslib.datasets import load_dataset
from ovsslib.datasets.verify import image_size, verify
from ovsslib.errors import OvssError
from ovsslib.io.palette import voc_palette
from support.helpers import SHARED, needs_realdata, write_voc
from support.small_data import annotation, photo, save_label, write_ade, write_coco, write_context

NAME = "ADE_val_00000001"


def kinds(report: object) -> dict[str, int]:
    """Kind of fault -> how many, apart from the size of the data set."""
    faults = report.faults.items()  # type: ignore[attr-defined]
    return {kind: len(sentences) for kind, sentences in faults if kind != "count"}


def ade_faults(root: Path, *, deep: bool = False) -> dict[str, int]:
    return kinds(verify(load_dataset("ade20k", root), deep=deep))


def test_whole(tmp_path: Path) -> None:
    report = verify(load_dataset("diorama", write_voc(tmp_path, 3)))
    assert report.ok
    assert (report.images, report.expected, report.faults) == (3, (), {})
    assert report.images_with[0] == 3
    assert report.images_with[1:].sum() == 6
    assert report.void == pytest.approx(1 / 48)
    assert report.to_dict()["ok"] is True


def test_shipped_diorama_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVSS_DATA", raising=False)
    report = verify(load_dataset("diorama"))
    assert report.ok
    assert (report.images_with > 0).all()


def test_count(tmp_path: Path) -> None:
    report = verify(load_dataset("ade20k", write_ade(tmp_path)))
    assert report.faults == {"count": ("split val has 2 images, 2000 are expected",)}
    assert not report.ok
    report = verify(load_dataset("context60", write_context(tmp_path / "c")))
    assert "5104 or 5105 are expected" in report.faults["count"][0]


def test_files_that_are_missing(tmp_path: Path) -> None:
    write_voc(tmp_path, 3)
    (tmp_path / "JPEGImages" / "img_0000.jpg").unlink()
    (tmp_path / "SegmentationClass" / "img_0001.png").unlink()
    report = verify(load_dataset("diorama", tmp_path))
    assert kinds(report) == {"image missing": 1, "label missing": 1}
    assert "img_0000.jpg" in report.faults["image missing"][0]


def test_label_without_image(tmp_path: Path) -> None:
    """Hidden files, such as archives from macOS have, are no labels."""
    write_ade(tmp_path)
    for name in ("ADE_val_00000007", "._ADE_val_00000001"):
        save_label(tmp_path / "annotations" / "validation" / f"{name}.png", [1])
    (tmp_path / "images" / "validation" / "._ADE_val_00000001.jpg").write_text("")
    assert ade_faults(tmp_path) == {"image missing": 1}


def test_sizes_differ(tmp_path: Path) -> None:
    """A label of the same number of pixels, but lying down, is another size."""
    label = np.ones((24, 16), np.uint8)
    Image.fromarray(label).save(write_ade(tmp_path) / "annotations" / "validation" / f"{NAME}.png")
    report = verify(load_dataset("ade20k", tmp_path))
    assert report.faults["size"] == (f"{NAME}: image 24 x 16, label 16 x 24",)


def test_values_and_colours(tmp_path: Path) -> None:
    folder = write_ade(tmp_path) / "annotations" / "validation"
    save_label(folder / f"{NAME}.png", [151])
    Image.new("RGB", (24, 16)).save(folder / "ADE_val_00000002.png")
    assert ade_faults(tmp_path) == {"label values": 1, "label in colours": 1}


def test_damaged_files(tmp_path: Path) -> None:
    """Cut short; and, for ``deep`` alone, damaged in the middle with its end mark in place."""
    write_ade(tmp_path, n=3)
    label = tmp_path / "annotations" / "validation" / f"{NAME}.png"
    label.write_bytes(label.read_bytes()[:50])
    images = tmp_path / "images" / "validation"
    cut = images / "ADE_val_00000002.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    assert ade_faults(tmp_path) == {"label unreadable": 1, "image unreadable": 1}
    holed = images / "ADE_val_00000003.jpg"
    content = bytearray(holed.read_bytes())
    tables = content.index(b"\xff\xc4") + 4  # Huffman tables, which only decoding reads
    content[tables : tables + 20] = 20 * b"\xff"
    holed.write_bytes(content)
    assert ade_faults(tmp_path)["image unreadable"] == 1
    assert ade_faults(tmp_path, deep=True)["image unreadable"] == 2


def test_a_whole_image_with_bytes_after_its_end(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + bytes(500))
    assert image_size(path) == (24, 16)
    path.write_bytes(b"not an image")
    with pytest.raises(OvssError, match="not an image"):
        image_size(path)


def test_images_that_lie_on_their_side(tmp_path: Path) -> None:
    """The size compared is that of the image turned upright, as it is segmented."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photo(tmp_path / "a.jpg")) as image:
        image.save(tmp_path / "turned.jpg", exif=exif)
    for deep in (False, True):
        assert image_size(tmp_path / "turned.jpg", deep=deep) == (16, 24)


def test_order_of_context_is_doubted(tmp_path: Path) -> None:
    """Grass under the number it has in the data set's own order, where Context has the mouse."""
    data = load_dataset("context60", write_context(tmp_path, [36], n=25))
    assert kinds(verify(data)) == {"doubtful": 1}
    data = load_dataset("context60", write_context(tmp_path, [36], n=2))
    assert kinds(verify(data)) == {}


def test_instances(tmp_path: Path) -> None:
    damaged = {"size": [2, 2], "counts": [0, 4]}
    write_coco(tmp_path, [annotation(1, 1, damaged)])
    report = verify(load_dataset("coco-object-instances", tmp_path))
    assert kinds(report) == {"label unreadable": 1}
    assert report.images_with[0] == 2


def converted(root: Path, how: Callable[[Image.Image], Image.Image]) -> Path:
    """VOC's layout with every label as another program would have saved it."""
    for path in sorted((write_voc(root, 25) / "SegmentationClass").iterdir()):
        with Image.open(path) as image:
            changed = how(image)
        changed.save(path)
    return root


def reduced(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    return Image.fromarray(np.where(np.isin(values, (0, 255)), 255, values - 1).astype(np.uint8))


@pytest.mark.parametrize(
    ("how", "kind", "count", "mend"),
    [
        (lambda image: image.convert("RGB"), "label in colours", 25, "Use the original file"),
        (lambda image: image.convert("RGB").quantize(8), "label palette", 25, "another palette"),
        (
            lambda image: image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE),
            "label palette",
            25,
            "another palette",
        ),
        (lambda image: image.convert("L"), "doubtful", 1, r"convert\('L'\)\); use the original"),
        (reduced, "doubtful", 1, "reduced by one .*; use the original"),
    ],
)
@pytest.mark.parametrize("name", ["voc21", "voc20"])
def test_labels_of_voc_that_went_through_a_program(
    tmp_path: Path,
    how: Callable[[Image.Image], Image.Image],
    kind: str,
    count: int,
    mend: str,
    name: str,
) -> None:
    report = verify(load_dataset(name, converted(tmp_path, how)))
    assert set(kinds(report)) - {"label values"} == {kind}
    assert len(report.faults[kind]) == count
    assert re.search(mend, report.faults[kind][0])


@pytest.mark.parametrize("colours", [bytes(range(256)) * 3, voc_palette()[:21].tobytes()])
def test_palettes_that_leave_the_numbers_alone(tmp_path: Path, colours: bytes) -> None:
    def recolour(image: Image.Image) -> Image.Image:
        image.load()
        image.putpalette(colours)
        return image

    assert kinds(verify(load_dataset("voc21", converted(tmp_path, recolour)))) == {}


STUFF, OBJECT = ("coco-stuff",), ("coco-object81", "coco-object80")
OFFICIAL, TRAINED, INSTANCE = [0, 12, 91, 181, 255], [0, 11, 80, 170, 255], [0, 11, 80]


@pytest.mark.parametrize(
    ("names", "suffix", "values", "likely"),
    [
        (STUFF + OBJECT, "", OFFICIAL, None),
        (STUFF + OBJECT, "", TRAINED, "*_labelTrainIds.png"),
        (OBJECT, "", INSTANCE, "*_instanceTrainIds.png"),
        (STUFF + OBJECT, "_labelTrainIds", TRAINED, None),
        (STUFF + OBJECT, "_labelTrainIds", OFFICIAL, "ID.png"),
        (OBJECT, "_labelTrainIds", INSTANCE, "*_instanceTrainIds.png"),
        (OBJECT, "_instanceTrainIds", INSTANCE, None),
        (OBJECT, "_instanceTrainIds", OFFICIAL, "ID.png"),
        (OBJECT, "_instanceTrainIds", TRAINED, "*_labelTrainIds.png"),
    ],
)
@pytest.mark.parametrize("n", [2, 25])
def test_numbers_of_coco_under_the_names_of_others(
    tmp_path: Path,
    names: tuple[str, ...],
    suffix: str,
    values: list[int],
    likely: str | None,
    n: int,
) -> None:
    """The mistake is named, and what to rename, unless so few images may do without a number."""
    write_coco(tmp_path, values=values, n=n)
    for path in sorted((tmp_path / "stuffthingmaps" / "val2017").iterdir()):
        path.rename(path.with_name(f"{path.stem}{suffix}.png"))
    for name in names:
        faults = verify(load_dataset(name, tmp_path)).faults
        assert ("label values" in faults) <= (likely is not None)
        if likely is None:
            assert "doubtful" not in faults
        elif n == 25 or "label values" in faults:
            (doubt,) = faults["doubtful"]
            assert f"Call them {likely} again" in doubt
            assert "ovss data download coco-stuff" in doubt


def test_a_few_maps_may_lack_any_number(tmp_path: Path) -> None:
    data = load_dataset("coco-stuff", write_coco(tmp_path, values=[0, 80, 91], n=2))
    assert kinds(verify(data)) == {}


@pytest.mark.parametrize(("name", "last"), [("ade20k", 150), ("context60", 59), ("context59", 59)])
def test_labels_reduced_by_one(tmp_path: Path, name: str, last: int) -> None:
    write = write_ade if name == "ade20k" else write_context
    report = verify(load_dataset(name, write(tmp_path, [255, 0, last - 1])))
    assert kinds(report) == {"label values": 2, "doubtful": 1}
    assert f"no label file holds {last}" in report.faults["doubtful"][0]


def test_progress_and_order(tmp_path: Path) -> None:
    calls = []

    def progress(items, description, total):  # type: ignore[no-untyped-def]
        calls.append((description, total))
        return items

    write_ade(tmp_path, n=5)
    for number in range(1, 6):
        (tmp_path / "annotations" / "validation" / f"ADE_val_{number:08d}.png").unlink()
    report = verify(load_dataset("ade20k", tmp_path), threads=4, progress=progress)
    assert calls == [("verifying ade20k", 5)]
    assert len(report.faults["label missing"]) == 5
    assert report.faults["label missing"] == tuple(sorted(report.faults["label missing"]))


@needs_realdata
@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("voc21", {}),
        ("voc20", {}),
        ("context60", {}),
        ("context59", {}),
        ("ade20k", {}),
        ("coco-object-instances", {}),
        # One of the three images has instances only.
        ("coco-stuff", {"label missing": 1}),
        ("coco-object81", {"label missing": 1}),
        ("coco-object80", {"label missing": 1}),
    ],
)
def test_real_samples(name: str, faults: dict[str, int]) -> None:
    root = SHARED / "VOCdevkit" if name.startswith(("voc", "context")) else SHARED
    data = load_dataset(name, root)
    # The samples are a few files: of the three instances' images, all that are there.
    report = verify(data, deep=True)
    assert set(report.faults) - {"count"} == set(faults)
    assert kinds(report) == faults
    assert "count" in report.faults
