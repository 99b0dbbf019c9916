"""Strict parameters for notebooks: papermill only warns about a name it does not know.

A notebook's first code cell (tagged `parameters`) declares each parameter with its type; the
next cell checks what papermill put in their place:

.. code-block:: python

    vlm: str = "micro-blip"          # the cell tagged "parameters"
    limit: int | None = None

    from ovsslib.book import notebook     # the next cell
    params = notebook.parameters(globals())
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ovsslib.errors import OvssError


def parameters(namespace: Mapping[str, Any]) -> Any:
    """Check a notebook's parameters and freeze them.

    Args:
        namespace: The notebook's `globals()`. Declared parameters are its annotated names.

    Returns:
        An instance of a frozen dataclass with one field per declared parameter.

    Raises:
        OvssError: A parameter was passed that is not declared (the nearest declared name is
            given), or has a value of another type, or none is declared.

    Example:
        >>> parameters({"__annotations__": {"limit": int}, "limit": 3})
        Parameters(limit=3)
    """
    declared: dict[str, Any] = dict(namespace.get("__annotations__", {}))
    if not declared:
        raise OvssError(
            "this notebook declares no parameters: write them in the cell tagged 'parameters', "
            'each with its type, such as `vlm: str = "micro-blip"`'
        )
    check_names(_passed(namespace), declared)
    for name, kind in declared.items():
        if name not in namespace:
            raise OvssError(f"parameter {name!r} has no value: give it a default")
        if not fits(namespace[name], kind):
            raise OvssError(
                f"parameter {name!r} must be {_spell(kind)}, not "
                f"{namespace[name]!r} ({type(namespace[name]).__name__})"
            )
    frozen = dataclasses.make_dataclass("Parameters", list(declared.items()), frozen=True)
    return frozen(**{name: namespace[name] for name in declared})


def check_names(passed: Iterable[str], declared: Iterable[str], where: str = "notebook") -> None:
    """Refuse a parameter that a notebook does not declare.

    Args:
        passed: Names that were given.
        declared: Names that exist.
        where: What declares them, for the message.

    Raises:
        OvssError: For the first name not declared; names the nearest one, or lists all.
    """
    known = sorted(declared)
    for name in passed:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known)}"
            raise OvssError(f"the {where} has no parameter {name!r}; {hint}")


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
        return any(fits(value, one) for one in inner)
    if origin is typing.Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in (list, tuple):  # papermill knows no tuples: a list stands for one
        items = value if isinstance(value, list | tuple) else [object()]
        return all(fits(item, inner[0]) for item in items)
    allowed: Any = {None: types.NoneType, float: (int, float)}.get(kind, origin or kind)
    return isinstance(value, allowed) and not (isinstance(value, bool) and kind in (int, float))


def as_mapping(value: str | Mapping[str, Any], name: str) -> dict[str, Any]:
    """A parameter that holds settings: a mapping, or JSON text, as `papermill -p` gives it.

    Args:
        value: What was passed; an empty text is no setting.
        name: The parameter's name, for the message.

    Raises:
        OvssError: The text is no JSON object.

    Example:
        >>> as_mapping('{"crf": false}', "config")
        {'crf': False}
    """
    if not isinstance(value, str):
        return dict(value)
    try:
        found = json.loads(value or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OvssError(
            f"parameter {name!r} must be settings as JSON text, such as "
            f"'{{\"crf\": false}}', not {value!r}"
        )
    return found


def as_list(value: str | Sequence[str]) -> list[str]:
    """A parameter that holds words: a list, or a text with commas, as `papermill -p` gives it.

    Example:
        >>> as_list("oracle, all"), as_list(["oracle"]), as_list("")
        (['oracle', 'all'], ['oracle'], [])
    """
    words = value.split(",") if isinstance(value, str) else value
    return [word.strip() for word in words if word.strip()]


def _passed(namespace: Mapping[str, Any]) -> list[str]:
    """Names that papermill assigned; in a plain dict, every public name."""
    if "In" not in namespace:
        return [name for name in namespace if not name.startswith("_")]
    names: list[str] = []
    for source in namespace["In"]:
        if source.startswith("# Parameters\n"):  # how papermill opens the cell it injects
            assigned = [s for s in ast.parse(source).body if isinstance(s, ast.Assign)]
            names += [t.id for s in assigned for t in s.targets if isinstance(t, ast.Name)]
    return names


def _spell(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind)) if not typing.get_args(kind) else str(kind)
