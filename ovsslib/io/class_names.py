"""Class names and their synonyms, from the text files in `ovsslib/vocab`.

Each file says at its top where its list comes from.
"""

from __future__ import annotations

from importlib import resources

from ovsslib.errors import OvssError


def vocabulary(name: str) -> tuple[tuple[str, ...], ...]:
    """All names of every class of a list.

    Args:
        name: `"voc20"`, `"context59"`, `"coco171"`, `"ade150"`…: a file in
            `ovsslib/vocab` without its ending.

    Returns:
        One tuple per class, in the order of its labels 1, 2, …: first the name that data sets use
        here, then other names for the same class.

    Raises:
        OvssError: There is no such list.

    Example:
        >>> vocabulary("voc20")[10]
        ('dining table', 'diningtable', 'table')
    """
    folder = resources.files("ovsslib") / "vocab"
    file = folder / f"{name}.txt"
    if not file.is_file():
        known = sorted(p.name.removesuffix(".txt") for p in folder.iterdir() if p.is_file())
        raise OvssError(f"no list of classes is called {name!r}; there are {', '.join(known)}")
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(
        tuple(word.strip() for word in line.split(";"))
        for line in lines
        if line.strip() and not line.startswith("#")
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
            `class: name; name; …`, the class by its first name in the data set, or
            `background`.

    Returns:
        Class to its names; classes that keep their own are left out.

    Raises:
        OvssError: There is no such file.

    Example:
        >>> protocol_names("pnp-voc")
        {'dining table': ('table',)}
    """
    folder = resources.files("ovsslib") / "vocab" / "protocols"
    file = folder / f"{name}.txt"
    if not file.is_file():
        known = sorted(p.name.removesuffix(".txt") for p in folder.iterdir())
        raise OvssError(f"no protocol has names called {name!r}; there are {', '.join(known)}")
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            own, _, words = line.partition(":")
            found[own.strip()] = tuple(word.strip() for word in words.split(";"))
    return found
