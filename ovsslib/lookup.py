"""Names and settings as users give them: looked up, checked, and the nearest right one named."""

from __future__ import annotations

import difflib
import importlib
import types
import typing
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


def check_names(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that are not among the known ones.

    Args:
        kind: What a name stands for; used in the error.
        names: The names the user gave.
        known: The names that would have been right.

    Raises:
        OvssError: For the first unknown name; proposes the nearest one.
    """
    known = tuple(known)
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)


def check_types(values: Mapping[str, Any], kinds: Mapping[str, Any], owner: str = "") -> None:
    """Check settings against the types they are declared with.

    Args:
        values: Name -> value.
        kinds: Name -> type, as `typing.get_type_hints` gives them; see `fits`.
        owner: What stands before a name in the message, such as `"the reward's "`.

    Raises:
        OvssError: For the first value of another type; where only certain values are allowed
            (`Literal`), the nearest is named.
    """
    for name, value in values.items():
        kind = kinds[name]
        if fits(value, kind):
            continue
        if typing.get_origin(kind) is typing.Literal:
            raise unknown(f"value of {owner}{name}", value, typing.get_args(kind))
        raise OvssError(f"{owner}{name} must be {spell(kind)}, got {value!r}")


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated type; `True` is no number, and 1 is a float too.

    Example:
        >>> fits(3, float), fits(True, int), fits(None, int | None), fits([1, "a"], list[int])
        (True, False, True, False)
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if origin is typing.Literal:
        return any(value == option and type(value) is type(option) for option in inner)
    if origin in (list, tuple):  # papermill knows no tuples: a list stands for one
        items = value if isinstance(value, list | tuple) else [object()]
        return all(fits(item, inner[0]) for item in items)
    allowed: Any = {None: types.NoneType, float: (int, float)}.get(kind, origin or kind)
    return isinstance(value, allowed) and not (isinstance(value, bool) and kind in (int, float))


def spell(kind: Any) -> str:
    """A type in words.

    Example:
        >>> spell(float | None), spell(list[int])
        ('float or None', 'list[int]')
    """
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(map(spell, typing.get_args(kind)))
    if kind in (None, types.NoneType):
        return "None"
    return str(kind) if typing.get_args(kind) else kind.__name__


def resolve(target: str) -> Any:
    """Import the object behind a `"module:attribute"` registry entry.

    Example:
        >>> resolve("math:sqrt")(9.0)
        3.0
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
