"""Files from the network, fetched once and checked; and where the hub keeps what it fetched."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ovsslib.errors import OvssError
from ovsslib.io.download import fetch_to


def cache_folder() -> Path:
    """Where downloads are kept: `$OVSS_CACHE`, else `ovsslib` in the platform's cache folder.

    The platform's is `$XDG_CACHE_HOME` or `~/.cache`; `~/Library/Caches` on macOS;
    `%LOCALAPPDATA%` on Windows.
    """
    chosen = os.environ.get("OVSS_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ovsslib"
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    shelf = os.environ.get(variable)
    return (Path(shelf) if shelf else Path.home() / ".cache") / "ovsslib"


def is_url(name: str) -> bool:
    """Whether a name is an address that `fetch` can read.

    Example:
        >>> is_url("https://example.org/model.pth"), is_url("models/model.pth")
        (True, False)
    """
    return name.lower().startswith(("https://", "http://"))


def split_url(url: str) -> tuple[str, str]:
    """An address and the SHA-256 digest that its fragment gives.

    Args:
        url: `https://host/file.pth#sha256=` and 64 hexadecimal digits.

    Returns:
        The address without its fragment, and the digest in lower case.

    Raises:
        OvssError: There is no such digest, or the address names no file.

    Example:
        >>> split_url("https://example.org/m.pth#sha256=" + 64 * "A")[0]
        'https://example.org/m.pth'
    """
    address, _, fragment = url.partition("#")
    found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if not found:
        raise OvssError(
            f"{url}: a download is read only when its checksum is known; append #sha256= and the "
            "64 hexadecimal digits of the file's SHA-256 digest"
        )
    try:
        named = file_name(address)
    except ValueError:  # brackets that hold no address
        named = ""
    if not named:
        raise OvssError(f"{address}: the address names no file")
    return address, found[1].lower()


def file_name(address: str) -> str:
    """The file's name in an address, without characters that a file system may refuse.

    Example:
        >>> file_name("https://example.org/a/model%20large.pth?x=1")
        'model_large.pth'
    """
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    return re.sub(r"[^\w.-]", "_", name).lstrip(".")


def cached_file(url: str) -> Path:
    """Where `fetch` keeps the file of an address; it need not be there yet.

    Raises:
        OvssError: See `split_url`.
    """
    address, digest = split_url(url)
    return cache_folder() / "checkpoints" / digest[:16] / file_name(address)


def fetch(url: str, *, download: bool = False) -> Path:
    """The file of an address, out of the cache or else from the network.

    Bytes go to a temporary name; the file gets its own only when its digest is right. After a
    broken connection the next call goes on where that one ended, if the server can.

    Args:
        url: See `split_url`.
        download: Whether the network may be used for a file that is not in the cache.

    Returns:
        A complete file in `cache_folder`.

    Raises:
        OvssError: It is not in the cache and `download` is false; the download failed, or its
            digest is another; another process is fetching it; the folder cannot be written.
    """
    address, digest = split_url(url)
    target = cached_file(url)
    if target.is_file():
        return target
    if not download:
        raise OvssError(
            f"{address} is not on this machine: load it once with download=True "
            f"(python -c \"import ovsslib; ovsslib.load_vlm('{url}', download=True)\")"
        )
    return fetch_to(address, target, checksum=f"sha256:{digest}")


def hub_cache() -> Path:
    """The Hugging Face hub's cache, by the variables that its own library reads.

    They are read anew each time, and without importing that library.
    """
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    shelf = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(shelf, "huggingface")
    return Path(home).expanduser() / "hub"


def hub_snapshot(repo: str) -> Path | None:
    """The folder of a hub repository's main branch in the local cache; None without one.

    It may lack files: the hub's library fetches single files too.

    Args:
        repo: `"owner/name"`, or the bare name of an old repository.
    """
    folder = hub_cache() / f"models--{repo.replace('/', '--')}"
    try:
        commit = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None
