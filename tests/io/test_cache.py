"""Downloads over real HTTP from a server in this process, and what may go wrong on the way."""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.io.cache import (
    cache_folder,
    cached_file,
    fetch,
    hub_cache,
    hub_snapshot,
    split_url,
)
from support.file_server import FileServer, serving

BODY = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(BODY).hexdigest()


PATH = "/m/model.pth"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({PATH: BODY}) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_fetched_once(server: FileServer, cache: Path) -> None:
    url = f"{server.url}{PATH}#sha256={DIGEST.upper()}"
    with pytest.raises(OvssError, match=r"not on this machine: .*download=True"):
        fetch(url)
    assert not cache.exists()
    path = fetch(url, download=True)
    assert path.read_bytes() == BODY
    assert path == cached_file(url)
    assert path.is_relative_to(cache)
    server.shutdown()
    assert fetch(url) == fetch(url, download=True) == path
    assert server.asked == [(PATH, None)]
    assert files(cache) == ["model.pth"]


def test_goes_on_after_a_broken_connection(server: FileServer, cache: Path) -> None:
    url = f"{server.url}{PATH}#sha256={DIGEST}"
    server.cut = [300_000, 400_000]
    with pytest.raises(OvssError, match=r"the connection broke after 300,000 of 1,048,576 bytes"):
        fetch(url, download=True)
    assert files(cache) == ["model.pth.part"]
    with pytest.raises(OvssError, match="not on this machine"):
        fetch(url)
    with pytest.raises(OvssError, match=r"after 700,000 of 1,048,576 bytes\); try again"):
        fetch(url, download=True)
    assert fetch(url, download=True).read_bytes() == BODY
    assert server.asked == [(PATH, None), (PATH, "bytes=300000-"), (PATH, "bytes=700000-")]
    assert files(cache) == ["model.pth"]


def test_server_without_ranges_starts_anew(server: FileServer) -> None:
    url = f"{server.url}{PATH}#sha256={DIGEST}"
    server.cut, server.ranges = [1000], False
    with pytest.raises(OvssError, match="the connection broke"):
        fetch(url, download=True)
    assert fetch(url, download=True).read_bytes() == BODY


def test_whole_file_under_its_temporary_name(server: FileServer) -> None:
    """A process that died between the last byte and the check."""
    url = f"{server.url}{PATH}#sha256={DIGEST}"
    part = Path(f"{cached_file(url)}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY)
    assert fetch(url, download=True).read_bytes() == BODY
    assert not part.exists()


def test_wrong_checksum_leaves_nothing(server: FileServer, cache: Path) -> None:
    other = 64 * "0"
    with pytest.raises(OvssError, match=rf"digest of what came is {DIGEST}, not {other}"):
        fetch(f"{server.url}{PATH}#sha256={other}", download=True)
    assert files(cache) == []
    with pytest.raises(OvssError, match="not on this machine"):
        fetch(f"{server.url}{PATH}#sha256={other}")


def test_damaged_beginning_is_not_kept(server: FileServer, cache: Path) -> None:
    url = f"{server.url}{PATH}#sha256={DIGEST}"
    part = Path(f"{cached_file(url)}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 1000)
    with pytest.raises(OvssError, match="it was deleted"):
        fetch(url, download=True)
    assert files(cache) == []
    assert fetch(url, download=True).read_bytes() == BODY


def test_nobody_answers(server: FileServer, cache: Path) -> None:
    with pytest.raises(OvssError, match=r"the server answered 404 Not Found"):
        fetch(f"{server.url}/gone.pth#sha256={DIGEST}", download=True)
    server.shutdown()
    server.server_close()
    with pytest.raises(OvssError, match=r"the download failed \(.*refused.*\); try again") as error:
        fetch(f"{server.url}{PATH}#sha256={DIGEST}", download=True)
    assert "\n" not in str(error.value)
    assert files(cache) == []


def test_two_processes_do_not_write_one_file(server: FileServer) -> None:
    url = f"{server.url}{PATH}#sha256={DIGEST}"
    lock = cached_file(url).with_name("model.pth.lock")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(OvssError, match="being downloaded by another process"):
            fetch(url, download=True)
    assert fetch(url, download=True).read_bytes() == BODY


def test_cache_that_cannot_be_written(server: FileServer, cache: Path) -> None:
    cache.write_text("a file, not a folder")
    with pytest.raises(OvssError, match="the download failed"):
        fetch(f"{server.url}{PATH}#sha256={DIGEST}", download=True)


@pytest.mark.parametrize("fragment", ["", "#", "#md5=ab", "#sha256=", "#sha256=" + 63 * "a"])
def test_checksum_is_asked_for(fragment: str) -> None:
    with pytest.raises(OvssError, match=re.escape("append #sha256=")):
        fetch("https://example.org/model.pth" + fragment, download=True)


@pytest.mark.parametrize("address", ["https://example.org", "https://e.org/..", "https://[x/m.pth"])
def test_address_without_a_file(address: str) -> None:
    with pytest.raises(OvssError, match="names no file"):
        split_url(f"{address}#sha256={DIGEST}")


def test_cache_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("OVSS_CACHE")
    assert cache_folder().name == "ovsslib"
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert hub_cache() == tmp_path / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert hub_cache() == tmp_path / "home" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert hub_cache() == tmp_path / "hub"


def test_hub_snapshot_agrees_with_the_hub_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import snapshot_download

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert hub_snapshot("owner/name") is None
    folder = tmp_path / "models--owner--name"
    for commit in ("a" * 40, "b" * 40):
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    assert hub_snapshot("owner/name") is None
    (folder / "refs" / "main").write_text("b" * 40)
    assert hub_snapshot("owner/name") == folder / "snapshots" / ("b" * 40)
    there = snapshot_download("owner/name", cache_dir=tmp_path, local_files_only=True)
    assert Path(there) == hub_snapshot("owner/name")
