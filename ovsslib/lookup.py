"""Looking names up in plain dicts, with errors that name the nearest known name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ovsslib.errors import OvssError

T = TypeVar("T")


def unknown(kind: str, name: object, known: Iterable[str]) -> OvssError:
    """The error for a name that is not among the known ones.

    Args:
        kind: What the name stands for, such as `"preset"`.
        name: The name the user gave.
        known: The names that would have been right.

    Returns:
        An error (to be raised by the caller) that proposes the nearest name and lists all.

    Example:
        >>> print(unknown("preset", "blib", ["blip", "bridgetower"]))
        unknown preset 'blib'; did you mean 'blip'? Known: blip, bridgetower
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return OvssError(f"unknown {kind} {name!r}; {hint}Known: {', '.join(names) or 'none'}")


def pick(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Look a name up in a registry.

    Args:
        kind: What the name stands for; used in the error.
        name: The name the user gave.
        table: The registry.

    Returns:
        The registered value.

    Raises:
        OvssError: The name is unknown.

    Example:
        >>> pick("rule", "few", {"few": 3})
        3
    """
    try:
        return table[name]
    except (KeyError, TypeError):
        raise unknown(kind, name, table) from None


def resolve(target: str) -> Any:
    """Import the object behind a `"module:attribute"` registry entry.

    Example:
        >>> resolve("math:sqrt")(9.0)
        3.0
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
