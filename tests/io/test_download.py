"""Downloads to a place of one's choice, from a server in this process that cuts connections."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.io.download import fetch_to
from support.file_server import FileServer, serving

BODY = bytes(range(256)) * 4096  # 1 MiB
PATH = "/data/file.zip"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({PATH: BODY}) as running:
        yield running


def test_goes_on_by_itself(server: FileServer, tmp_path: Path) -> None:
    """A connection cut again and again, once before its first byte; progress never goes back."""
    server.cut = [200_000, 0, 300_000, 400_000]
    told: list[tuple[int, int | None]] = []
    target = tmp_path / "data" / "file.zip"
    md5 = f"md5:{hashlib.md5(BODY).hexdigest()}"
    how = {"retries": 1, "pause": 0.0}
    got = fetch_to(
        server.url + PATH, target, checksum=md5, report=lambda *now: told.append(now), **how
    )
    assert got == target
    assert target.read_bytes() == BODY
    assert [asked for _, asked in server.asked] == [
        None, "bytes=200000-", "bytes=200000-", "bytes=500000-", "bytes=900000-"
    ]  # fmt: skip
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, len(BODY)), (len(BODY), len(BODY)))
    fetch_to(server.url + PATH, target, checksum="md5:of another file")
    assert len(server.asked) == 5


def test_gives_up_when_nothing_comes(server: FileServer, tmp_path: Path) -> None:
    server.cut = [100] + 9 * [0]
    with pytest.raises(OvssError, match="the connection broke after 100 of 1,048,576 bytes"):
        fetch_to(server.url + PATH, tmp_path / "file.zip", retries=2, pause=0.0)
    assert len(server.asked) == 4
    with pytest.raises(OvssError, match="404"):
        fetch_to(server.url + "/gone.zip", tmp_path / "gone.zip", retries=5, pause=0.0)
    assert len(server.asked) == 5


def test_another_file_under_the_same_address(server: FileServer, tmp_path: Path) -> None:
    """Without a checksum: what is longer than the file is no part of it."""
    (tmp_path / "file.zip.part").write_bytes(BODY + b"?")
    with pytest.raises(OvssError, match="the file is now another, of 1,048,576 bytes"):
        fetch_to(server.url + PATH, tmp_path / "file.zip")
    assert fetch_to(server.url + PATH, tmp_path / "file.zip").read_bytes() == BODY
    (tmp_path / "file.zip").rename(tmp_path / "whole.zip.part")
    assert fetch_to(server.url + PATH, tmp_path / "whole.zip").read_bytes() == BODY
    with pytest.raises(OvssError, match="the SHA1 digest of what came is"):
        fetch_to(server.url + PATH, tmp_path / "third.zip", checksum="sha1:0")
