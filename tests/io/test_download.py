"""Downloads over real HTTP from a server in this process, and what may go wrong on the way."""

from __future__ import annotations

import hashlib
import re
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.io.download import cache_folder, fetch, hub_folder, hub_snapshot, retrieve, split_url
from support.file_server import FileServer, serving
from support.helpers import as_nobody

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


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_fetched_once(server: FileServer, cache: Path) -> None:
    url = f"{server.url}{PATH}#sha256={DIGEST.upper()}"
    with pytest.raises(OvssError, match=r"not on this machine: .*download=True"):
        fetch(url)
    assert not cache.exists()
    path = fetch(url, download=True)
    assert path.read_bytes() == BODY
    assert path == cache / "checkpoints" / DIGEST[:16] / "model.pth"
    server.shutdown()
    assert fetch(url) == fetch(url, download=True) == path
    assert server.asked == [PATH]
    assert files(cache) == ["model.pth"]


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256", None])
def test_retrieve(server: FileServer, tmp_path: Path, kind: str | None) -> None:
    checksum = kind and f"{kind}:{hashlib.new(kind, BODY).hexdigest()}"
    path = tmp_path / "a" / "b.zip"
    for _ in range(2):  # a right file is not fetched again
        assert retrieve(server.url + PATH, path, checksum) == path
        assert path.read_bytes() == BODY
    assert server.asked == [PATH]


def test_a_wrong_file_is_replaced(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(BODY[:-1])
    retrieve(server.url + PATH, tmp_path / "b.zip", f"sha256:{DIGEST}")
    assert (tmp_path / "b.zip").read_bytes() == BODY


@pytest.mark.parametrize("sent", [0, 300_000])
def test_broken_connection(server: FileServer, cache: Path, sent: int) -> None:
    """Nothing is left under any name; the error says how to resume by hand."""
    url = f"{server.url}{PATH}#sha256={DIGEST}"
    server.cut = [sent]
    with pytest.raises(OvssError, match=r"the download failed \(.*; try again, or") as error:
        fetch(url, download=True)
    path = cache / "checkpoints" / DIGEST[:16] / "model.pth"
    assert str(error.value).endswith(f"curl -fL -C - -o {path} {server.url}{PATH}")
    assert "\n" not in str(error.value)
    assert files(cache) == []
    assert fetch(url, download=True).read_bytes() == BODY


def test_wrong_checksum_leaves_nothing(server: FileServer, cache: Path) -> None:
    with pytest.raises(OvssError, match=rf"expected sha256:0{{64}} but got {DIGEST}") as error:
        fetch(f"{server.url}{PATH}#sha256={64 * '0'}", download=True)
    assert "\n" not in str(error.value)
    assert files(cache) == []


def test_nobody_answers(server: FileServer, cache: Path) -> None:
    with pytest.raises(OvssError, match=r"the server answered 404 Not Found; check the address$"):
        fetch(f"{server.url}/gone.pth#sha256={DIGEST}", download=True)
    server.shutdown()
    server.server_close()
    with pytest.raises(OvssError, match=r"the download failed \(.*refused\); try again") as error:
        fetch(f"{server.url}{PATH}#sha256={DIGEST}", download=True)
    assert "\n" not in str(error.value)
    assert files(cache) == []


def test_addresses_that_are_none(tmp_path: Path) -> None:
    for address in ("http://", "files.example.org/a.zip", "http://[x/a.zip"):
        with pytest.raises(OvssError) as error:
            retrieve(address, tmp_path / "a.zip")
        assert str(error.value).startswith(f"{address}: ")
    assert files(tmp_path) == []


def test_settings_that_no_download_can_use(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with pytest.raises(OvssError, match=r"^\$REQUESTS_CA_BUNDLE: no certificates"):
        retrieve("https://127.0.0.1:9/a.zip", tmp_path / "a.zip")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(OvssError, match=r"failed \(.*\); check the address, proxies and cert"):
        retrieve(server.url.replace("http:", "https:") + PATH, tmp_path / "a.zip")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:99999")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(OvssError, match=r"^the proxy in \$HTTP_PROXY: its port"):
        retrieve(server.url + PATH, tmp_path / "a.zip")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HF_ENDPOINT", "nonsense", r"\$HF_ENDPOINT: it must begin with"),
        ("HF_ENDPOINT", "http://127.0.0.1:x", r"\$HF_ENDPOINT: its port"),
        ("SSL_CERT_FILE", "gone.pem", r"\$SSL_CERT_FILE: no certificates"),
        ("HTTPS_PROXY", "http://a..b", r"the proxy in \$HTTPS_PROXY: no host"),
        ("HF_TOKEN", "hf\u2013x", r"\$HF_TOKEN holds a character"),
    ],
)
def test_settings_that_the_hub_cannot_use(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(OvssError, match=f"^{words}"):
        hub_folder("nobody/nothing", download=True)


def test_two_at_once(server: FileServer) -> None:
    url = f"{server.url}{PATH}#sha256={DIGEST}"
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: fetch(url, download=True), range(2))
    assert first == second
    assert first.read_bytes() == BODY


def test_a_full_disk(server: FileServer, cache: Path) -> None:
    """The system refuses to write more than half of the file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, hard))
    try:
        with pytest.raises(OvssError, match=r"model\.pth: cannot be written \(.*free the space"):
            fetch(f"{server.url}{PATH}#sha256={DIGEST}", download=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(cache) == []


def test_cache_that_cannot_be_written(server: FileServer, cache: Path) -> None:
    cache.write_text("a file, not a folder")
    with pytest.raises(OvssError, match="the folder cannot be made"):
        fetch(f"{server.url}{PATH}#sha256={DIGEST}", download=True)


@pytest.mark.parametrize("fragment", ["", "#", "#md5=ab", "#sha256=", "#sha256=" + 63 * "a"])
def test_checksum_is_asked_for(fragment: str) -> None:
    with pytest.raises(OvssError, match=re.escape("append #sha256=")):
        fetch("https://example.org/model.pth" + fragment, download=True)


@pytest.mark.parametrize("address", ["https://example.org", "https://e.org/..", "https://[x/m.pth"])
def test_address_without_a_file(address: str) -> None:
    with pytest.raises(OvssError, match="names no file"):
        split_url(f"{address}#sha256={DIGEST}")


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("OVSS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ovsslib"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "ovsslib"


def test_hub_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main branch's folder, also of a download that was interrupted."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub_snapshot("owner/name") is None
    folder = tmp_path / "models--owner--name"
    for commit in ("a" * 40, "b" * 40):
        (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    assert hub_snapshot("owner/name") is None
    (folder / "refs" / "main").write_text("b" * 40)
    assert hub_snapshot("owner/name") == folder / "snapshots" / ("b" * 40)
    assert hub_snapshot("bare-name") is None


def test_a_user_without_a_home() -> None:
    """As in a container: what is not kept anywhere says so; nothing else minds."""
    code = (
        "import ovsslib; from ovsslib.io.download import fetch, hub_snapshot; "
        f"hub_snapshot('owner/name'); fetch('http://localhost/m.pth#sha256={DIGEST}', "
        "download=True)"
    )
    done = as_nobody("-c", code)
    assert "OvssError: ~/.cache/ovsslib/checkpoints" in done.stderr
    assert done.stderr.strip().endswith("stands for no home folder here; set HOME, or write it out")
