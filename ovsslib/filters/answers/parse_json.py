"""The list of classes in a JSON answer: whole, within prose, or cut off in the middle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_OBJECT = re.compile(r"\{[^{}]*\}")
_FENCE = re.compile(r"```[a-zA-Z]*")


def json_items(text: str) -> tuple[list[Any] | None, str, str]:
    """The items of a JSON answer.

    Args:
        text: Of the model.

    Returns:
        Objects or names, one per class, None where the text holds no JSON; what stands around the
        JSON; and what is left of an item where the text breaks off.

    Example:
        >>> json_items('Sure: {"classes": [{"name": "cat", "probability": 90}]}')
        ([{'name': 'cat', 'probability': 90}], 'Sure:', '')
        >>> json_items('{"classes": [{"name": "cat"}, {"name": "d')
        ([{'name': 'cat'}], '', '{"name": "d')
    """
    text = _FENCE.sub(" ", text)
    decoder = json.JSONDecoder()
    for start in (match.start() for match in re.finditer(r"[\[{]", text)):
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        items = _unpack(value)
        # The first brace that can be read may be an inner one of something cut off.
        if items is not None and (start == 0 or not re.search(r"[\[{]", text[:start])):
            return items, (text[:start] + " " + text[end:]).strip(), ""
    return _salvage(text)


def _salvage(text: str) -> tuple[list[Any] | None, str, str]:
    """Complete objects of a text that is no JSON as a whole."""
    items: list[Any] = []
    end = None
    for match in _OBJECT.finditer(text):
        try:
            items.append(json.loads(match[0]))
        except ValueError:
            continue
        end = match.end()
    begin = re.search(r"[\[{]", text)
    if begin is None or (end is None and not re.match(r'\s*["\[{}]', text[begin.end() :] or '"')):
        return None, text, ""
    tail = text[begin.start() if end is None else end :].strip(" \n\t,")
    return items, text[: begin.start()].strip(), "" if not tail.strip("]} \n") else tail


def _unpack(value: Any) -> list[Any] | None:
    """The items of a decoded answer, whichever way it is nested."""
    if isinstance(value, list):
        return value
    if {"name", "class"} & {key for key, item in value.items() if isinstance(item, str)}:
        return [value]
    lists = {key: item for key, item in value.items() if isinstance(item, list)}
    if not lists:
        inner = [_unpack(item) for item in value.values() if isinstance(item, dict)]
        plain = {k: v for k, v in value.items() if isinstance(v, int | float | str)}
        named = [{"name": k, "probability": v} for k, v in plain.items()]
        return next(filter(None, inner), named if named or not value else None)
    names = next(iter(lists.values()))
    values = next((v for k, v in lists.items() if k.startswith(("prob", "conf"))), None)
    if values is None or any(isinstance(item, Mapping) for item in names):
        return names
    padded = [*values, *[None] * (len(names) - len(values))]
    return [{"name": n, "probability": p} for n, p in zip(names, padded, strict=False)]
