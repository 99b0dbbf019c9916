"""Writing files whole or not at all, and folders for them."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ovsslib.errors import OvssError

_ADVICE = "choose another output folder or free the space"


def check_suffix(path: str | os.PathLike[str], suffix: str) -> None:
    """Refuse a file by its name, before the work that it is to hold is done.

    Args:
        path: The file.
        suffix: How its name must end, such as `".json"`.

    Raises:
        OvssError: It ends otherwise.
    """
    if Path(path).suffix != suffix:
        raise OvssError(f"{path}: the file's name must end in {suffix}; rename it")


def write_atomic(
    path: str | os.PathLike[str], content: str | bytes | Callable[[Any], object]
) -> Path:
    """Write a file whole or not at all: under a temporary name beside it, then renamed.

    Args:
        path: File to write; its folder is made when missing.
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
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".part", dir=path.parent
        )
        with os.fdopen(handle, "wb") as out:
            if callable(content):
                content(out)
            else:
                out.write(content.encode("utf-8") if isinstance(content, str) else content)
        # mkstemp makes files only their owner can read; give what open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        raise OvssError(
            f"{path}: cannot be written ({error.strerror or error}); {_ADVICE}"
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
    return path


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and its parents, or say in one line why that is impossible.

    Raises:
        OvssError: A parent is a file, or writing there is not allowed.
    """
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
