"""Odd names of files, folders and classes, in odd locales: one clear line, the rest is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.helpers import (
    QUICK_OPTIONS,
    ROOT,
    as_nobody,
    one_error,
    ovss,
    write_photo,
    write_voc,
)

RESULTS = ROOT / "data" / "results"


@pytest.mark.parametrize(
    "name",
    [b"b\xff.jpg", 240 * b"l" + b".jpg", 251 * b"m" + b".jpg", "ä ö\n.jpg".encode(), b"~.jpg"],
    ids=["bytes", "long", "longest", "line end", "home"],
)
def test_files_of_any_name_are_segmented(segment: Callable, tmp_path: Path, name: bytes) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    write_photo(tmp_path / "z.jpg").rename(odd)
    photos = [write_photo(tmp_path / "a.jpg"), odd, write_photo(tmp_path / "z.jpg")]
    for _ in range(2):  # the second time, its own files are known again
        done = segment(*photos)
        assert done.exit_code == 0, done.output
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    images = {record["image"] for record in records}
    assert images == {"a.jpg", "z.jpg", name.decode(errors="replace")}
    assert len(list((tmp_path / "out").iterdir())) == 9


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (2100 * "x/" + "p.jpg", "File name too long"),
        (300 * "x" + ".jpg", "File name too long"),
        ("a.jpg/b.jpg", "no such file"),
        ("no*.jpg", "the pattern matches no file"),
        ("bare", "the folder holds no image"),
        ("pipe", "not a file"),
    ],
)
def test_the_rest_of_a_batch_is_done(
    segment: Callable, tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "bare").mkdir()
    os.mkfifo(tmp_path / "pipe")
    good = [write_photo(tmp_path / f"{stem}.jpg") for stem in "az"]
    done = segment(good[0], tmp_path / name, good[1])
    assert done.exit_code == 1
    assert words in done.stderr.splitlines()[-1]
    assert sorted(p.stem for p in (tmp_path / "out").glob("*.json")) == ["a", "z"]


def test_without_permission(tmp_path: Path, tiny: Path) -> None:
    """A folder, a file, and a folder that shows names only, in the middle of a batch."""
    for folder in ("locked", "names"):
        (tmp_path / folder).mkdir()
    write_photo(tmp_path / "names" / "q.jpg")
    images = [write_photo(tmp_path / f"{stem}.jpg") for stem in ("a", "secret", "z")]
    images[1].chmod(0)
    (tmp_path / "locked").chmod(0)
    (tmp_path / "names").chmod(0o400)
    try:
        words = [*images, tmp_path / "locked", tmp_path / "names"]
        done = as_nobody(
            "-m", "ovsslib", "segment", *words, "-c", "house", "--vlm", tiny, "-o",
            tmp_path / "out", *QUICK_OPTIONS,
        )  # fmt: skip
    finally:
        for folder in ("locked", "names"):
            (tmp_path / folder).chmod(0o700)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for name in ("secret.jpg", "locked", "q.jpg"):
        assert any(name in line and "Permission denied" in line for line in lines)
    assert "2 of 4 images" in done.stdout


def test_class_names_of_invalid_bytes(segment: Callable, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg")
    one_error(segment(photo, classes="house,b\udcff"), 2, "class 2 is not UTF-8 text")


def command(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    line = [sys.executable, "-m", "ovsslib", *map(str, words)]
    return subprocess.run(line, capture_output=True, env=os.environ | environment, check=False)


def test_a_c_locale(tmp_path: Path, tiny: Path) -> None:
    """Without Python's own remedies; names are UTF-8 all the same."""
    photo = write_photo(tmp_path / "ä.jpg")
    done = command(
        "segment", photo, "-c", "Häuser, ö", "--vlm", tiny, "-o", tmp_path / "ü", *QUICK_OPTIONS,
        LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "ü" / "ä.json").read_text(encoding="utf-8"))
    assert record["image"] == "ä.jpg"
    assert [row["name"] for row in record["classes"]] == ["Häuser", "ö"]


@pytest.mark.parametrize("option", ["--out=~/x.md", "--out ~/x.md"])
def test_home_where_the_shell_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    done = ovss("table", RESULTS, "--no-published", *option.split())
    assert done.exit_code == 0, done.output
    assert [p.name for p in tmp_path.rglob("*")] == ["home", "x.md"]


def test_home_in_a_variable(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data" / "voc", 1)
    done = command("data", "verify", "voc", OVSS_DATA="~/data", HOME=str(tmp_path))
    assert f"1 images in {root}\n".encode() in done.stdout, done.stderr
