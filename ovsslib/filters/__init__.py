"""Which classes the method looks for in an image (step 1 of the paper).

The paper asks GPT-4o: `chat`; answers of that or any other model can also be read from a file:
`answers`. `base` holds the base class and the two filters that need no model: the oracle (the
classes in the ground truth: an upper bound) and all classes of the data set (the hardest case).
`clip` and `vlm` ask a model on this machine; `thresholded` is what they share. `captions` takes
labels from an image's captions, for tuning. `quality` gives a filter's precision and recall.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from ovsslib.errors import OvssError
from ovsslib.filters.base import ClassFilter
from ovsslib.lookup import check_names, check_types, pick, resolve

FILTERS: dict[str, tuple[str, str]] = {
    "all": ("ovsslib.filters.base:All", ""),
    "clip": ("ovsslib.filters.clip:Clip", "model"),
    "gpt4o": ("ovsslib.filters.chat.gpt4o:GPT4o", "answers"),
    "oracle": ("ovsslib.filters.base:Oracle", ""),
    "recorded": ("ovsslib.filters.answers.recorded:Recorded", "answers"),
    "vlm": ("ovsslib.filters.vlm:Vlm", "model"),
}
"""Name -> `"module:class"`, and the setting that may follow `name:`; `""` without settings."""


def split_filter(
    name: str, settings: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """A filter's plain name and all its settings.

    Args:
        name: A key of `FILTERS`, or one with its main setting: `"recorded:answers.jsonl"`.
        settings: Further ones.

    Returns:
        Name and settings.

    Raises:
        OvssError: Unknown name (the nearest is named), or settings of a filter that has none.

    Example:
        >>> split_filter("clip:micro-clip", {"threshold": 0.4})
        ('clip', {'threshold': 0.4, 'model': 'micro-clip'})
    """
    kinds = {"name": str, "settings": Mapping | None}
    check_types({"name": name, "settings": settings}, kinds, "the filter's ")
    plain, colon, value = name.partition(":")
    main = pick("filter", plain, FILTERS)[1]
    given = dict(settings or {})
    if not main and (colon or given):
        raise OvssError(f"the filter {plain!r} has no settings; leave them out")
    if colon:
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
        OvssError: Unknown name or setting (the nearest is named), or a value of the wrong kind.
    """
    plain, given = split_filter(name, settings)
    kind = resolve(FILTERS[plain][0])
    check_names(f"setting of {plain}", given, get_type_hints(kind))
    made: ClassFilter = kind(**given)
    return made
