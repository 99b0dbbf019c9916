"""Class names and their synonyms, from the text files in ``ovsslib/vocab``.

Each file says at its top where its list comes from.
"""

from __future__ import annotations

from importlib import resources

from ovsslib.errors import OvssError


def vocabulary(name: str) -> tuple[tuple[str, ...], ...]:
    """All names of every class of a list.

    Args:
        name: ``"voc20"``, ``"context59"``, ``"coco171"``, ``"ade150"``…: a file in
            ``ovsslib/vocab`` without its ending.

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
        known = sorted(p.name.removesuffix(".txt") for p in folder.iterdir())
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
