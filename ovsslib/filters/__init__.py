"""Which classes the method is told are in the image (step 1 of the paper).

The paper asks GPT-4o (`gpt4o`; its answers, or those of any other model, can be read from a file:
`recorded`). Two filters need no model: the oracle (an upper bound: the classes that are in the
ground truth) and none at all (every class of the data set; the hardest case). `clip` and `vlm` ask
a model on this machine.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ovsslib.datasets.base import Dataset
from ovsslib.errors import OvssError
from ovsslib.lookup import pick, resolve, unknown

ClassFilter = Callable[[Dataset, str], tuple[int, ...]]
"""Data set and image name -> labels (1..C, rising) of the classes to look for; may be empty.

A filter may also have `described` (what tells it from others in a result), `prepare(dataset,
names, progress)` (called once before a run) and `use(matcher)` (offered the run's model).
"""


def oracle(dataset: Dataset, name: str) -> tuple[int, ...]:
    """The classes in the image's ground truth, however few their pixels.

    Args:
        dataset: Where the label map is.
        name: Of the image.

    Returns:
        Labels in rising order, without background and void.
    """
    present = np.unique(dataset.label(name)).tolist()
    return tuple(k for k in present if 1 <= k <= len(dataset.classes))


def every(dataset: Dataset, name: str) -> tuple[int, ...]:
    """All classes of the data set, whatever the image (the filter named `"all"`)."""
    del name
    return tuple(range(1, len(dataset.classes) + 1))


FILTERS: dict[str, ClassFilter] = {"oracle": oracle, "all": every}
"""Filters without settings."""

CONFIGURABLE: dict[str, tuple[str, str]] = {
    "clip": ("ovsslib.filters.clip:Clip", "model"),
    "gpt4o": ("ovsslib.filters.chat.gpt4o:GPT4o", "answers"),
    "recorded": ("ovsslib.filters.answers.recorded:Recorded", "answers"),
    "vlm": ("ovsslib.filters.vlm:Vlm", "model"),
}
"""Name -> `"module:class"` (a dataclass of settings), and the setting after `name:`."""


def list_filters() -> list[str]:
    """Names `get_filter` knows.

    Example:
        >>> list_filters()
        ['all', 'clip', 'gpt4o', 'oracle', 'recorded', 'vlm']
    """
    return sorted([*FILTERS, *CONFIGURABLE])


def split_filter(
    name: str, settings: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """A filter's plain name and all its settings.

    Args:
        name: As in `list_filters`, or with its main setting: `"recorded:answers.jsonl"`.
        settings: Further ones.

    Returns:
        Name and settings.

    Raises:
        OvssError: Unknown name (says the nearest one), or a setting where there is none to set.

    Example:
        >>> split_filter("clip:micro-clip", {"threshold": 0.4})
        ('clip', {'threshold': 0.4, 'model': 'micro-clip'})
    """
    plain, colon, value = name.partition(":")
    if plain not in list_filters():
        raise unknown("filter", plain, list_filters())
    given = dict(settings or {})
    if plain in FILTERS and (colon or given):
        raise OvssError(f"the filter {plain!r} has no settings; leave them out")
    if colon:
        main = CONFIGURABLE[plain][1]
        if given.get(main, value) != value or not value:
            raise OvssError(
                f"{name!r}: name {main} once, in {plain}:{main.upper()} or as a setting"
            )
        given[main] = value
    return plain, given


def get_filter(name: str, settings: Mapping[str, Any] | None = None) -> ClassFilter:
    """A filter by name.

    Args:
        name: See `split_filter`.
        settings: Fields of the filter's class.

    Raises:
        OvssError: Unknown name or setting (says the nearest one), or a value of the wrong kind.
    """
    plain, given = split_filter(name, settings)
    if plain in FILTERS:
        return pick("filter", plain, FILTERS)
    kind = resolve(CONFIGURABLE[plain][0])
    fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    for key, value in given.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            known = ", ".join(sorted(fields))
            raise OvssError(f"the filter {plain!r} has no setting {key!r}; {hint}Known: {known}")
        if not _fits(value, fields[key]):
            raise OvssError(f"the filter's {key} must be {fields[key]}, got {value!r}")
    made: ClassFilter = kind(**given)
    threshold = getattr(made, "threshold", None)
    if threshold is not None and not 0 <= threshold <= 1:
        raise OvssError(f"the filter's threshold must be from 0 to 1, got {threshold}")
    return made


def describe(filter: ClassFilter) -> dict[str, Any]:
    """A filter's settings as results store them: no path, no key."""
    return dict(getattr(filter, "described", {}))


def _fits(value: object, kind: str) -> bool:
    """Whether a value is of an annotated kind such as `"int | None"`; an int is a float too."""
    kinds = kind.split(" | ")
    if value is None:
        return "None" in kinds
    return type(value).__name__ in kinds or (type(value) is int and "float" in kinds)
