"""Every command that writes into a shared place, twice at once, as real processes.

Either both do the same, or the second says in one line that the first is there. What is left is
what one of them alone leaves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovsslib.io.files import only_one
from support.chat_server import ChatServer, chat, green_voc, key
from support.helpers import QUICK_OPTIONS, ROOT, tiny_blip, write_voc
from support.small_data import write_coco

__all__ = ["chat", "key", "tiny_blip"]


def start(folder: Path, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ovsslib", *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def twice(folder: Path, *words: object) -> list[int]:
    """Exit statuses, the smaller first; a process that fails says one line."""
    pair = [start(folder, *words) for _ in range(2)]
    statuses = []
    for process in pair:
        _, errors = process.communicate(timeout=120)
        statuses.append(process.returncode)
        if process.returncode:
            assert process.returncode == 2, errors
            line = errors.splitlines()[-1]
            assert line.startswith("error: "), errors
            assert "another process" in line
            assert "Traceback" not in errors
    assert 0 in statuses
    return sorted(statuses)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_run_into_one_folder_of_results(tmp_path: Path, tiny_blip: Path) -> None:
    write_voc(tmp_path / "voc", 3)
    words = ("run", "--dataset", "voc", "--root", "voc", "--vlm", tiny_blip, *QUICK_OPTIONS)
    assert twice(tmp_path, *words, "--out", "results", "--shard-size", 2) == [0, 0]
    names = files(tmp_path / "results")
    assert len(names) == 6, names
    (name,) = [name for name in names if name.endswith(".json")]
    assert json.loads((tmp_path / "results" / name).read_text())["images"] == 3
    assert twice(tmp_path, "table", "results", "--out", "table.md") == [0, 0]
    assert "voc" in (tmp_path / "table.md").read_text()


def test_answers_into_one_file(
    tmp_path: Path,
    chat: ChatServer,
    key: str,
) -> None:
    green_voc(tmp_path / "voc", 4)
    chat.delay = 0.5
    words = ("filter", "ask", "a.jsonl", "--dataset", "voc", "--root", "voc")
    twice(tmp_path, *words, "--base-url", chat.url, "--concurrency", 1)
    assert len(chat.requests) == 4
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 4


def test_diorama_drawn_into_one_folder(tmp_path: Path) -> None:
    twice(tmp_path, "diorama", "make", "--n", 3, "--out", "diorama")
    assert len((tmp_path / "diorama" / "captions.jsonl").read_text().splitlines()) == 3
    assert len(files(tmp_path / "diorama")) == 8


def test_training_in_one_folder(tmp_path: Path) -> None:
    words = ("train", "micro-clip", "--steps", 3, "--batch", 4, "--pictures", 8, "--heldout", 2)
    size = ("--side", 32, "--width", 32, "--every", 3, "--run", "run", "--cache", "cache")
    twice(tmp_path, *words, *size)
    curve = (tmp_path / "run" / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in curve] == [1, 2, 3]
    assert not [name for name in files(tmp_path) if name.endswith(".tmp")]


def test_labels_converted_into_one_folder(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    twice(tmp_path, "data", "convert", "coco-object", "--root", "coco", "--out", "out")
    alone = start(tmp_path, "data", "convert", "coco-object", "--root", "coco", "--out", "alone")
    assert alone.wait(timeout=120) == 0
    assert files(tmp_path / "out") == files(tmp_path / "alone") != []


HELD = {
    "ask": ("a.jsonl", "filter ask a.jsonl --base-url http://127.0.0.1:9/v1"),
    "diorama": ("drawn/", "diorama make --n 1 --out drawn"),
    "train": ("run/", "train micro-clip --pictures 2 --heldout 2 --run run"),
    "download": (
        "data/downloads/VOCtrainval_11-May-2012.tar.lock",
        "data download voc --root data --mirror http://127.0.0.1:9",
    ),
    "convert": (
        "out/annotations/val2017/",
        "data convert coco-object --root coco --out out",
    ),
}


@pytest.mark.parametrize("case", HELD)
def test_the_second_says_that_the_first_is_there(tmp_path: Path, case: str) -> None:
    """This process holds the place; nothing in it is changed."""
    place, words = HELD[case]
    write_coco(tmp_path / "coco")
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    if place.endswith("/"):
        (tmp_path / place).mkdir()
    with only_one(tmp_path / place):
        process = start(tmp_path, *words.split())
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    line = errors.splitlines()[-1]
    assert line.startswith("error: ")
    assert "another process is" in line
    assert line.endswith("there; wait until it is done")
    inside = files(tmp_path / place) if place.endswith("/") else (tmp_path / place).read_text()
    assert not inside


def test_one_results_file_of_a_benchmark(tmp_path: Path) -> None:
    words = ("bench", "evaluation", "--images", 2, "--width", 16, "--height", 16)
    assert twice(tmp_path, *words, "--out", "figures") == [0, 0]
    (name,) = files(tmp_path / "figures")
    assert json.loads((tmp_path / "figures" / name).read_text())["counts_agree"]
