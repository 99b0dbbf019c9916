"""Text from any editor; writing files whole or not at all; can they be written?"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ovsslib.errors import OvssError

_ADVICE = "choose another output folder or free the space"


def read_text(path: str | os.PathLike[str]) -> str:
    """Text that a person or another program may have written.

    Args:
        path: A file in UTF-8, with or without a byte order mark, or in UTF-16 with one (which
            Windows' PowerShell writes).

    Returns:
        The text without the mark, its lines ended by line feeds.

    Raises:
        OvssError: The file cannot be read, or has another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise OvssError(
            f"{path}: cannot be read ({error.strerror or error}); check the path"
        ) from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise OvssError(
            f"{path}, line {line}: not text in UTF-8 ({error.reason}); save the file as UTF-8"
        ) from None
    if "\0" in text:  # UTF-16 without a mark, or no text at all
        raise OvssError(f"{path}: not text in UTF-8 (holds zero bytes); save the file as UTF-8")
    return io.StringIO(text, newline=None).read()


_STREAMS = ("/dev", "/dev/fd", "/proc/self/fd")
"""Where `stdout` and its like lie, which may lead to a file that another program has open."""


def check_file(path: str | os.PathLike[str], suffix: str = "") -> None:
    """Refuse a file that cannot be written, before the work that it is to hold is done.

    Args:
        path: The file; its folder is made when missing.
        suffix: How its name must end, such as `".json"`.

    Raises:
        OvssError: It ends otherwise, is a folder, or no file can be made there.
    """
    path = Path(path)
    if suffix and path.suffix != suffix:
        raise OvssError(f"{path}: the file's name must end in {suffix}; rename it")
    if os.path.isdir(path):
        raise OvssError(f"{path}: is a folder; name a file")
    if not _is_stream(path):
        check_folder(path.parent)


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, and try whether a file can be made in it; arguments as `make_folder`.

    Raises:
        OvssError: As `make_folder`, or no file can be made there.
    """
    folder = make_folder(path)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise OvssError(f"{path}: cannot be written to ({error.strerror}); {_ADVICE}") from error


def write_atomic(
    path: str | os.PathLike[str], content: str | bytes | Callable[[Any], object]
) -> Path:
    """Write a file whole or not at all: under a temporary name beside it, then renamed.

    Args:
        path: File to write; its folder is made when missing. A symbolic link stays, and the file
            it leads to is written; so does a device or a named pipe.
        content: Text (written as UTF-8), bytes, or a function that writes into an open binary file.

    Returns:
        The path.

    Raises:
        OvssError: The folder cannot be made or the file not be written.

    Example:
        >>> folder = tempfile.mkdtemp()
        >>> write_atomic(Path(folder) / "a" / "b.txt", "hello").read_text()
        'hello'
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = None
    try:
        if _is_stream(path):
            whole = io.BytesIO()
            _fill(whole, content)
            with open(path, "ab") as out:
                out.write(whole.getvalue())
            return path
        target = os.path.realpath(path)
        # Cut: with what is added, a long name would be too long.
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.name[:40]}.", suffix=".part", dir=os.path.dirname(target)
        )
        with os.fdopen(handle, "wb") as out:
            _fill(out, content)
        # mkstemp makes files only their owner can read; give what open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except OSError as error:
        raise OvssError(
            f"{path}: cannot be written ({error.strerror or error}); {_ADVICE}"
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
    return path


def _fill(out: Any, content: str | bytes | Callable[[Any], object]) -> None:
    """Write the content into an open binary file."""
    if callable(content):
        content(out)
    else:
        out.write(content.encode("utf-8") if isinstance(content, str) else content)


def _is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe or the like: written to, never replaced by a file."""
    plain = os.path.isfile(path) and str(path.parent) not in _STREAMS
    return os.path.exists(path) and not plain and not os.path.isdir(path)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and its parents, or say in one line why that is impossible.

    Raises:
        OvssError: A parent is a file, writing there is not allowed, or the path begins with a `~`
            that nobody has replaced.
    """
    if Path(path).parts[:1] == ("~",):
        raise OvssError(f"{path}: ~ stands for no home folder here; set HOME, or write it out")
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise OvssError(f"{path}: the folder cannot be made ({reason}); {_ADVICE}") from error
    return Path(path)


@contextlib.contextmanager
def only_one(path: str | os.PathLike[str], does: str = "is writing") -> Iterator[None]:
    """Keep other processes out of a shared place as long as this one writes there.

    Windows, and some network file systems, have no such lock: there nobody is kept out.

    Args:
        path: A folder that is there, or a file, which is made when missing.
        does: What the other process does.

    Raises:
        OvssError: Another process is there, or the place cannot be opened.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = os.path.isdir(path)
    try:
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OvssError(
            f"{path}: cannot be opened ({error.strerror or error}); {_ADVICE}"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OvssError(
                f"{path}: another process {does} there; wait until it is done"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
