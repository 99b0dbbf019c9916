"""Files are written whole or not at all, and folders made or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.io.files import check_suffix, only_one, write_atomic


def test_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_atomic(tmp_path / "new" / "a.txt", "one")

    def fails(out: object) -> None:
        out.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_atomic(path, fails)
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_write_below_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OvssError, match="cannot be made"):
        write_atomic(tmp_path / "file" / "out.txt", "x")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """`/dev/full` refuses every byte as a full disk does."""

    def fill(out: object) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(OvssError, match="No space left"):
        write_atomic(tmp_path / "a.txt", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    check_suffix(tmp_path / "a.b.json", ".json")
    for name in ("a.yml", "json", "a.json.gz"):
        with pytest.raises(OvssError, match=rf"{name}: the file's name must end in \.json"):
            check_suffix(tmp_path / name, ".json")


@pytest.mark.parametrize("place", ["folder", "new file"])
def test_one_at_a_time(tmp_path: Path, place: str) -> None:
    path = tmp_path if place == "folder" else tmp_path / "a.lock"
    for _ in range(2):  # and again when the first is done
        with only_one(path), pytest.raises(OvssError, match="another process is writing there"):
            only_one(path).__enter__()


def test_a_place_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="cannot be opened"), only_one(tmp_path / "a" / "b"):
        pass
