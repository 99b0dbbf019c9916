"""Names and settings as users give them: looked up, checked, and the nearest right one named."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import itertools
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from ovsslib.errors import OvssError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """Which values a number may take, or which lengths a list: `Annotated[int, Range(1)]`.

    Infinity and NaN are in no range.

    Attributes:
        low: The least value.
        high: The greatest.
        above: Whether `low` itself is left out.
    """

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: Any) -> bool:
        size = len(value) if isinstance(value, list | tuple) else value
        inside = self.low < size if self.above else self.low <= size
        return inside and size <= self.high and size < math.inf

    def __str__(self) -> str:
        if self.high < math.inf and not self.above:
            return f"from {self.low} to {self.high}"
        most = "" if self.high == math.inf else f" and <= {self.high}"
        return f"{'>' if self.above else '>='} {self.low}{most}"


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""What numpy takes as a seed, and torch."""
Threads = Annotated[int, Range(1, 1024)]
Workers = Annotated[int, Range(0, 1024)]
Share = Annotated[float, Range(0, 1)]
Amount = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]


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
        OvssError: For the first value of another type or out of range; where only certain values
            are allowed (`Literal`), the nearest is named.
    """
    for name, value in values.items():
        kind = kinds[name]
        if fits(value, kind):
            continue
        if typing.get_origin(kind) is typing.Literal:
            raise unknown(f"value of {owner}{name}", value, typing.get_args(kind))
        raise OvssError(f"{owner}{name} must be {spell(kind)}, got {value!r}")


@functools.cache
def kinds_of(owner: Any) -> dict[str, Any]:
    """Field -> declared type, with its range, of a dataclass."""
    hints = typing.get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner)}


def check_fields(settings: Any, owner: str = "") -> None:
    """Check all fields of a dataclass against their declared types and ranges.

    Args:
        settings: The instance; called from its `__post_init__`.
        owner: As in `check_types`.

    Raises:
        OvssError: As `check_types`.
    """
    owning: Any = type(settings)
    kinds = kinds_of(owning)
    check_types({name: getattr(settings, name) for name in kinds}, kinds, owner)


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated type and in its range.

    `True` is no number, and 1 is a float too.

    Example:
        >>> fits(3, float), fits(True, int), fits(None, int | None), fits([1, "a"], list[int])
        (True, False, True, False)
        >>> fits(0, Count), fits(float("nan"), Share), fits([], Annotated[list[Count], Range(1)])
        (False, False, False)
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return fits(value, inner[0]) and all(value in limits for limits in inner[1:])
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if origin is typing.Literal:
        return any(value == option and type(value) is type(option) for option in inner)
    if origin in (list, tuple):  # papermill knows no tuples: a list stands for one
        open_end = origin is list or ... in inner
        if not isinstance(value, list | tuple) or not (open_end or len(value) == len(inner)):
            return False
        return all(map(fits, value, itertools.repeat(inner[0]) if open_end else inner))
    allowed: Any = {None: types.NoneType, float: (int, float), Any: object}.get(
        kind, origin or kind
    )
    return isinstance(value, allowed) and not (isinstance(value, bool) and kind in (int, float))


def spell(kind: Any) -> str:
    """A type and its range in words.

    Example:
        >>> spell(float | None), spell(list[Count]), spell(Annotated[list[str], Range(1)])
        ('float or None', 'list[int >= 1]', 'list[str] of length >= 1')
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        sized = " of length" if typing.get_origin(inner[0]) in (list, tuple) else ""
        return f"{spell(inner[0])}{sized} {inner[1]}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(spell, inner))
    if kind in (None, types.NoneType):
        return "None"
    if origin in (list, tuple):
        return f"{origin.__name__}[{', '.join('...' if k is ... else spell(k) for k in inner)}]"
    return str(kind) if inner else kind.__name__


def resolve(target: str) -> Any:
    """Import the object behind a `"module:attribute"` registry entry.

    Example:
        >>> resolve("math:sqrt")(9.0)
        3.0
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
