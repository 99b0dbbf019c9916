"""One file over HTTP, whole or not at all: resumed after breaks, checked, never written twice."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ovsslib.errors import OvssError

_TIMEOUT = 60.0  # seconds without a byte before a connection counts as broken
_CHUNK = 1 << 20


def fetch_to(
    address: str,
    target: Path,
    *,
    checksum: str | None = None,
    retries: int = 0,
    pause: float = 1.0,
    report: Callable[[int, int | None], object] | None = None,
) -> Path:
    """A file from the network to a place of your choice; a file that is there is left as it is.

    Args:
        address: `https://…` or `http://…`, without a fragment.
        target: Where the file goes, whole; until then its bytes are in `<target>.part`, and the
            next call goes on where a broken one ended.
        checksum: `"sha256:…"`, `"sha1:…"` or `"md5:…"` in hexadecimal digits; None where its
            source publishes none, and the caller checks the content.
        retries: How often in a row a connection may break without bringing anything; with 0 the
            first break is an error.
        pause: Seconds before the connection is made anew, doubled each time.
        report: Told of progress: bytes so far, and of how many (None where the server does not
            say).

    Returns:
        `target`.

    Raises:
        OvssError: The download failed or its checksum is another; another process is fetching it;
            the folder cannot be written.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(part.with_suffix(".lock"), address):
            if not target.is_file():  # another process may have been quicker
                _persist(address, part, retries, pause, report or _nothing)
                if checksum:
                    _check(part, checksum, address)
                part.replace(target)
    except OSError as error:
        reason = " ".join((str(error) or type(error).__name__).split())
        raise OvssError(f"{address}: the download failed ({reason}); try again") from error
    return target


class _RefusedError(OSError):
    """The server answered that it will not send the file: asking again at once is no use."""


def _nothing(have: int, total: int | None) -> None:
    """Report to nobody."""
    del have, total


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _persist(
    address: str,
    part: Path,
    retries: int,
    pause: float,
    report: Callable[[int, int | None], object],
) -> None:
    """Transfer, and go on after breaks as long as that brings something."""
    failures = 0
    while True:
        before = _size(part)
        try:
            return _transfer(address, part, report)
        except _RefusedError:
            raise
        except OSError as error:
            failures = 0 if _size(part) > before else failures + 1
            if not retries or failures > retries or error.errno == errno.ENOSPC:
                raise
            time.sleep(pause * 2**failures)


def _transfer(address: str, part: Path, report: Callable[[int, int | None], object]) -> None:
    """Bring the temporary file up to its full length; an `OSError` where that is not reached."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    start = _size(part)
    headers = {"User-Agent": "ovsslib", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        with urlopen(Request(address, headers=headers), timeout=_TIMEOUT) as answer:
            # A server that cannot go on in the middle answers 200 with the whole file.
            begins = str(answer.headers.get("Content-Range", ""))
            start = start if answer.status == 206 and begins.startswith(f"bytes {start}-") else 0
            length = answer.headers.get("Content-Length")
            total, have = start + int(length) if length is not None else None, start
            with part.open("ab" if start else "wb") as out:
                report(have, total)
                while data := answer.read(_CHUNK):
                    out.write(data)
                    have += len(data)
                    report(have, total)
    except HTTPError as error:
        if error.code == 416 and start:
            return _nothing_left(part, start, str(error.headers.get("Content-Range", "")))
        kind = _RefusedError if 400 <= error.code < 500 and error.code != 429 else OSError
        raise kind(f"the server answered {error.code} {error.reason}") from error
    except HTTPException as error:
        raise OSError(f"the connection broke: {error or type(error).__name__}") from error
    # http.client tells of no missing bytes when they are read in pieces.
    if total is not None and have < total:
        raise OSError(f"the connection broke after {have:,} of {total:,} bytes")


def _nothing_left(part: Path, have: int, content_range: str) -> None:
    """The server has no byte after those we have: all are here, or the file was another."""
    total = content_range.rpartition("/")[2]
    if total.isdigit() and int(total) != have:
        part.unlink()
        raise OSError(f"the file is now another, of {int(total):,} bytes; what came was deleted")


def _check(part: Path, checksum: str, address: str) -> None:
    algorithm, _, digest = checksum.partition(":")
    with part.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != digest:
        part.unlink()
        title = "SHA-256" if algorithm == "sha256" else algorithm.upper()
        raise OvssError(
            f"{address}: the {title} digest of what came is {found}, not {digest}; it was deleted. "
            "Compare the digest with its source, then try again"
        )


@contextlib.contextmanager
def _only_one(lock: Path, address: str) -> Iterator[None]:
    """Keep two processes from writing one file; Windows has no such lock, so only the digest."""
    with lock.open("w") as handle:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OvssError(
                    f"{address} is being downloaded by another process; wait until it is done"
                ) from error
        yield
