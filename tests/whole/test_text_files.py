"""Every text file that a person may have written is read as any editor saves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.base import read_split
from ovsslib.datasets.coco_object import CocoInstances
from ovsslib.datasets.convert import convert_context
from ovsslib.errors import OvssError
from ovsslib.evaluate import engines
from ovsslib.evaluate.regress import Report, read_expected, update
from ovsslib.evaluate.result import save
from ovsslib.filters.answers.recorded import read_released
from ovsslib.filters.captions import image_labels
from ovsslib.io import class_names
from ovsslib.paths import data
from ovsslib.pnp.presets import preset
from ovsslib.reports.measured import load_measured
from ovsslib.reports.published import load_published
from ovsslib.vlm.lavis.tokenizer import read_vocabulary
from support.helpers import ROOT, write_voc
from support.results import make_result
from support.small_data import photo, write_coco

Reader = Callable[[Path], object]


def captions(path: Path) -> object:
    return image_labels(load_dataset("diorama", path.parent), "img_0000")


def instances(path: Path) -> object:
    return CocoInstances(path.parents[1]).ids


def detail(path: Path) -> object:
    photo(path.parent / "JPEGImages" / "a.jpg")
    return convert_context(path.parent)


def vocabulary(path: Path) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_names.resources, "files", lambda _: path.parents[1])
        return class_names.class_names(path.stem)


def updated(path: Path) -> object:
    update(path, Report(()))
    return read_expected(path)


def shared(*parts: str) -> str:
    return data(*parts).read_text("utf-8")


TEXTS: dict[str, tuple[str, str, Reader]] = {
    "split": ("val.txt", "2007_000033\nbé\n", read_split),
    "answers to import": ("a.json", '{"2007_000033": "[1: \'é\'], [90%]"}', read_released),
    "preset": ("a.json", '{"config": {"layer": 3}}', lambda path: preset(str(path))),
    "expected figures": ("a.json", shared("expected", "diorama.json"), read_expected),
    "updated figures": ("a.json", '{"runs": []}', updated),
    "SLURM profile": ("a.yml", "cores: 4\nqueue: é\n", engines._profile),
    "published figures": (
        "a.csv",
        shared("paper", "pnp_ovss.csv"),
        lambda path: load_published(path.parent),
    ),
    "results": ("a.json", "", lambda path: load_measured([path])),
    "captions": ("voc/captions.jsonl", '{"id": "img_0000", "captions": ["é, a cat"]}\n', captions),
    "instances": ("annotations/instances_val2017.json", "", instances),
    "PASCAL in Detail": (
        "trainval_merged.json",
        '{"images": [], "annos_segmentation": []}',
        detail,
    ),
    "class names": ("vocab/mine.txt", "# é\ncafé; coffee house\nbar\n", vocabulary),
    "tokens": (
        "vocab.txt",
        (ROOT / "tests/golden/released_code/vocab.txt").read_text("utf-8"),
        lambda path: sorted(read_vocabulary(path).get_vocab().items()),
    ),
}


def written(folder: Path, kind: str) -> tuple[Path, str, Reader]:
    """The file as the library or a person wrote it, its text and its reader."""
    name, text, reader = TEXTS[kind]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "results":
        path = save(make_result(), folder)
        text = path.read_text()
    if kind == "captions":
        write_voc(path.parent, 1)
    if kind == "instances":
        write_coco(folder)
        text = path.read_text()
    return path, text, reader


def outcome(path: Path, text: bytes, reader: Reader) -> str:
    """What a reader makes of a file's bytes, as text; one line where it refuses them."""
    path.write_bytes(text)
    try:
        return repr(reader(path))
    except OvssError as error:
        return f"error: {error}"


@pytest.mark.parametrize("kind", TEXTS)
def test_marks_wide_characters_and_line_ends_change_nothing(tmp_path: Path, kind: str) -> None:
    path, text, reader = written(tmp_path, kind)
    plain = outcome(path, text.encode(), reader)
    assert kind == "updated figures" or "error" not in plain
    crlf = text.replace("\n", "\r\n")
    for content in (text.encode("utf-8-sig"), text.encode("utf-16"), crlf.encode()):
        assert outcome(path, content, reader) == plain


@pytest.mark.parametrize("kind", TEXTS)
def test_other_encodings_are_named(tmp_path: Path, kind: str) -> None:
    path, text, reader = written(tmp_path, kind)
    latin = f"{text}é".encode("latin-1", "replace")
    for content in (latin, text.encode("utf-16-le"), text.encode("utf-16-be")):
        refusal = outcome(path, content, reader)
        assert refusal.startswith("error: ")
        assert path.name in refusal
        assert "save the file as UTF-8" in refusal
        assert "\n" not in refusal
