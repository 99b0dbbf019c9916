"""Plain dict registries, and errors that name the nearest known name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ovsslib.errors import OvssError

T = TypeVar("T")

# Method name -> "module:function" of its builder; a string, so that listing methods imports none.
METHODS: dict[str, str] = {"pnp-ovss": "ovsslib.pnp:build"}


def unknown(kind: str, name: object, known: Iterable[str]) -> OvssError:
    """The error for a name that is not among the known ones.

    Args:
        kind: What the name stands for, such as ``"preset"``.
        name: The name the user gave.
        known: The names that would have been right.

    Returns:
        An error (to be raised by the caller) that proposes the nearest name and lists all.

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

    >>> pick("rule", "few", {"few": 3})
    3
    """
    try:
        return table[name]
    except (KeyError, TypeError):
        raise unknown(kind, name, table) from None


def resolve(target: str) -> Any:
    """Import the object behind a ``"module:attribute"`` registry entry.

    >>> resolve("math:sqrt")(9.0)
    3.0
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def list_methods() -> list[str]:
    """Names that :func:`ovsslib.load` accepts as its first argument.

    >>> "pnp-ovss" in list_methods()
    True
    """
    return sorted(METHODS)


def load(method: str, **options: Any) -> Any:
    """Build a segmentation method by name.

    Args:
        method: A name out of :func:`list_methods`, such as ``"pnp-ovss"``.
        **options: Passed to the method's builder; for ``"pnp-ovss"`` see
            :func:`ovsslib.pnp.build` (``vlm``, ``preset``, ``device``, ``dtype``, ``download``
            and any field of :class:`ovsslib.config.PnPConfig`).

    Returns:
        A :class:`ovsslib.segmentation.Segmenter`.

    Raises:
        OvssError: The method, the model or an option is unknown.
    """
    return resolve(pick("method", method, METHODS))(**options)
