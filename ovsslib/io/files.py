"""Text from any editor; writing files whole or not at all, and folders for them."""

from __future__ import annotations

import codecs
import io
import os
import tempfile
from collections.abc import Callable
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
