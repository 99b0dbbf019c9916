"""Class names and their synonyms, from the text files in `ovsslib/vocab`.

Each file says at its top where its list comes from.
"""

from __future__ import annotations

from importlib import resources

from ovsslib.io.files import read_text
from ovsslib.lookup import unknown


def vocabulary(name: str) -> tuple[tuple[str, ...], ...]:
    """All names of every class of a list.

    Args:
        name: `"voc20"`, `"context59"`, `"coco171"`, `"ade150"`…: a file in
            `ovsslib/vocab` without its ending.

    Returns:
        One tuple per class, in the order of labels 1, 2, …: first the name that data sets here
        use, then other names for the same class.

    Raises:
        OvssError: There is no such list.

    Example:
        >>> vocabulary("voc20")[10]
        ('dining table', 'diningtable', 'table')
    """
    return tuple(
        tuple(word.strip() for word in line.split(";"))
        for line in _lines("vocab", name, "list of classes")
    )


def class_names(name: str) -> tuple[str, ...]:
    """The first name of every class of a list; arguments and errors as in `vocabulary`.

    Example:
        >>> class_names("ade150")[:3]
        ('wall', 'building', 'sky')
    """
    return tuple(names[0] for names in vocabulary(name))


def protocol_names(name: str) -> dict[str, tuple[str, ...]]:
    """Names that a protocol gives to classes instead of the data set's own.

    Args:
        name: A file in `ovsslib/vocab/protocols` without its ending; its lines are
            `class: name; name; …`, with the class's first name in the data set, or `background`.

    Returns:
        Class -> its names; classes that keep their own are left out.

    Raises:
        OvssError: There is no such file.

    Example:
        >>> protocol_names("pnp-voc")
        {'dining table': ('table',)}
    """
    names = {}
    for line in _lines("vocab/protocols", name, "list of a protocol's names"):
        own, _, words = line.partition(":")
        names[own.strip()] = tuple(word.strip() for word in words.split(";"))
    return names


def _lines(folder: str, name: str, kind: str) -> list[str]:
    """Lines of a list, without comments and blank ones."""
    files = resources.files("ovsslib") / folder
    path = files / f"{name}.txt"
    if not path.is_file():
        known = [f.name.removesuffix(".txt") for f in files.iterdir() if f.is_file()]
        raise unknown(kind, name, known)
    lines = read_text(str(path)).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]
