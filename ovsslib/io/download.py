"""Files from the network, downloaded once and checked; and the hub's local cache."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ovsslib.errors import OvssError
from ovsslib.io.files import make_folder
from ovsslib.io.network import causes, check_network, hopeless


def cache_folder() -> Path:
    """Where downloads are kept: `$OVSS_CACHE`, `$XDG_CACHE_HOME/ovsslib` or `~/.cache/ovsslib`."""
    if chosen := os.environ.get("OVSS_CACHE"):
        return Path(chosen)
    # Not Path.home(): it raises for a user without a home, who needs none for what is here already.
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "ovsslib"


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
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if not match:
        raise OvssError(
            f"{url}: a file is downloaded only if its checksum is known; append #sha256= and the "
            "64 hexadecimal digits of the file's SHA-256 digest"
        )
    try:
        name = file_name(address)
    except ValueError:  # brackets that hold no address
        name = ""
    if not name:
        raise OvssError(f"{address}: the address names no file")
    return address, match[1].lower()


def file_name(address: str) -> str:
    """The file's name in an address, without characters that a file system may refuse.

    Example:
        >>> file_name("https://example.org/a/model%20large.pth?x=1")
        'model_large.pth'
    """
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    return re.sub(r"[^\w.-]", "_", name).lstrip(".")


def fetch(url: str, *, download: bool = False) -> Path:
    """The file of an address, from the cache or else from the network.

    Args:
        url: See `split_url`.
        download: Whether the network may be used for a file that is not in the cache.

    Returns:
        A complete file in `cache_folder`.

    Raises:
        OvssError: The file is not in the cache and `download` is false, or see `retrieve`.
    """
    address, digest = split_url(url)
    path = cache_folder() / "checkpoints" / digest[:16] / file_name(address)
    if path.is_file():
        return path
    if not download:
        raise OvssError(
            f"{address} is not on this machine: load it once with download=True "
            f"(python -c \"import ovsslib; ovsslib.load_vlm('{url}', download=True)\")"
        )
    return retrieve(address, path, f"sha256:{digest}")


def retrieve(address: str, path: Path, checksum: str | None = None) -> Path:
    """Download a file, with a progress bar on a terminal; a right one that is there stays.

    Until it is complete and its checksum is right, the file has a temporary name, which is
    removed when the download fails.

    Args:
        address: `https://…` or `http://…`, without a fragment.
        path: Where the file goes.
        checksum: `"sha256:…"`, `"sha1:…"` or `"md5:…"` in hexadecimal digits; None where none is
            published.

    Returns:
        `path`.

    Raises:
        OvssError: The address or the network's settings are wrong, the download failed, the
            checksum is wrong, or the file cannot be written.
        KeyboardInterrupt: With a note that says how to download the file resumably.
    """
    try:
        import pooch
    except ImportError as error:  # the environment of salesforce-lavis is without it
        raise OvssError("downloads need pooch; python -m pip install pooch") from error
    from requests.exceptions import RequestException

    check_network(address, address, "requests")
    make_folder(path.parent)
    pooch.get_logger().setLevel("WARNING")
    bar = sys.stderr.isatty() and not os.environ.get("OVSS_QUIET")
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 20)
    try:
        pooch.retrieve(address, checksum, path.name, path.parent, downloader=downloader)
    except RequestException as error:
        raise OvssError(f"{address}: {_failure(error, address, path)}") from error
    except KeyboardInterrupt as stop:
        stop.add_note(_resumable(address, path))
        raise
    except OSError as error:
        raise OvssError(
            f"{path}: cannot be written ({error.strerror or error}); free the space or choose "
            "another folder"
        ) from error
    except ValueError as error:  # another checksum
        raise OvssError(f"{address}: {' '.join(str(error).split())}") from error
    return path


def _failure(error: Exception, address: str, path: Path) -> str:
    """What went wrong on the way, and what to do."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}; check the address"
    *_, cause = causes(error)
    reason = " ".join((str(cause) or type(cause).__name__).split())
    if hopeless(error):
        return f"the download failed ({reason}); check the address, proxies and certificates"
    return f"the download failed ({reason}); try again, or {_resumable(address, path)}"


def _resumable(address: str, path: Path) -> str:
    return (
        "download it so that it can be resumed: "
        f"curl -fL -C - -o {shlex.quote(str(path))} {shlex.quote(address)}"
    )


def hub_folder(repo: str, *, download: bool) -> Path:
    """The complete folder of a Hugging Face repository, from the local cache or the hub.

    Args:
        repo: `"owner/name"`.
        download: Whether the network may be used.

    Raises:
        OvssError: It is not on this machine; with the reason where it was to be fetched.
    """
    if download:
        server = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        check_network(server, "$HF_ENDPOINT", "httpx")
        if re.search(r"[^ -~]", os.environ.get("HF_TOKEN", "").strip()):
            raise OvssError("$HF_TOKEN holds a character that no token has; set it to that alone")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(repo, local_files_only=not download))
    except (OSError, ValueError, RuntimeError) as error:
        how = (
            f"fetch it with `hf download {repo}`, or load with download=True (ovss run: --download)"
        )
        if download:
            how = f"the download failed ({(str(error) or type(error).__name__).splitlines()[0]})"
        raise OvssError(f"model {repo!r} is not on this machine: {how}") from error


def hub_snapshot(repo: str) -> Path | None:
    """The folder of a Hugging Face repository in the local cache; it may lack files.

    None where there is no such folder, or no `huggingface_hub` to ask.

    Args:
        repo: `"owner/name"`, or the bare name of an old repository.
    """
    try:
        from huggingface_hub import snapshot_download

        # Without a pattern an incomplete folder would be an error.
        return Path(snapshot_download(repo, local_files_only=True, allow_patterns=[]))
    except (ImportError, OSError, RuntimeError):  # the last without a home folder
        return None
