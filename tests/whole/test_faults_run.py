"""``ovss run`` under kill -9, on a full disk, with bad images: nothing lost, nothing wrong."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovsslib.evaluate.result import load_counts
from support.helpers import make_tiny_blip, write_voc

QUICK = "--set layer=1 --set head=none --set rounds=2 --set crf=false --device cpu --batch 2"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    make_tiny_blip(place / "tiny")
    write_voc(place / "data", 24, size=(400, 300))
    return place


def command(place: Path, out: Path, *more: str) -> list[str]:
    words = f"run --vlm {place}/tiny --root {place}/data --shard-size 1 --out {out} {QUICK}"
    return [sys.executable, "-m", "ovsslib", *words.split(), *more]


def finish(place: Path, out: Path, *more: str, status: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        command(place, out, *more), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stderr
    return done


def outcome(out: Path) -> tuple[Any, ...]:
    """All that must be equal: figures, and every integer of every image."""
    (path,) = out.glob("*.json")
    record = json.loads(path.read_text())
    ids, counts = load_counts(path)
    pairs = path.with_suffix(".confusion.parquet").read_bytes()
    arrays = (counts.intersection, counts.predicted, counts.truth)
    return record["metrics"], record["failed"], ids, [a.tolist() for a in arrays], pairs


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> tuple[Any, ...]:
    finish(place, place / "undisturbed")
    return outcome(place / "undisturbed")


def test_ten_times_killed_at_random(place: Path, undisturbed: tuple, tmp_path: Path) -> None:
    """Each time some shards further, then at a random moment; the last run finishes."""
    chance = random.Random(0)
    seen = 0
    for turn in range(10):
        process = subprocess.Popen(
            command(place, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 120
        while len(list(tmp_path.rglob("*.parquet"))) < seen + 1:
            assert time.monotonic() < end
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        time.sleep(chance.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        now = len(list(tmp_path.rglob("*.parquet")))
        assert now > seen, turn
        seen = now
        assert not list(tmp_path.glob("*.json"))
    done = finish(place, tmp_path)
    assert f"{seen} of 24 shards are there already" in done.stderr
    assert outcome(tmp_path) == undisturbed


def test_interrupted_from_the_keyboard(place: Path, undisturbed: tuple, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(place, tmp_path, "--workers", "2"), stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while not list(tmp_path.rglob("*.parquet")):
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == (
        "interrupted; what is done is kept, the same command continues"
    )
    assert "Traceback" not in errors
    finish(place, tmp_path, "--workers", "2")
    assert outcome(tmp_path) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if made.returncode:
        pytest.skip(f"no small file system can be made here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("more", [(), ("--workers", "2")], ids=["here", "processes"])
def test_full_disk(
    place: Path, undisturbed: tuple, small_disk: Path, more: tuple[str, ...]
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * 90_000)
    done = finish(place, small_disk / "out", *more, status=2)
    (line,) = [row for row in done.stderr.splitlines() if row.startswith("error")]
    assert "cannot be written" in line
    assert "free the space" in line
    assert "Traceback" not in done.stderr
    kept = list(small_disk.rglob("*.parquet"))
    assert kept
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    again = finish(place, small_disk / "out", *more)
    assert "shards are there already" in again.stderr
    assert outcome(small_disk / "out") == undisturbed


def test_bad_pictures_end_the_run_with_their_names(place: Path, tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", 4)
    (root / "JPEGImages" / "img_0001.jpg").write_bytes(b"no picture")
    other = tmp_path / "place"
    other.mkdir()
    (other / "tiny").symlink_to(place / "tiny")
    (other / "data").symlink_to(root)
    done = finish(other, tmp_path / "out", status=1)
    assert "error: img_0001: " in done.stderr
    assert "3 of 4 images" in done.stdout
    done = finish(other, tmp_path / "out", "--allow-bad", "1")
    assert "accepted: img_0001: " in done.stderr
    (path,) = (tmp_path / "out").glob("*.json")
    record = json.loads(path.read_text())
    assert record["allowed_bad"] == 1
    assert list(record["failed"]) == ["img_0001"]
