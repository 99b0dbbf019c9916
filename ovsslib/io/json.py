"""Records as JSON: plain numbers and lists, null for NaN and infinity; digests of records."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from typing import Any

from ovsslib.redact import redacted


def dumps(record: dict[str, Any]) -> str:
    """JSON text of a record, indented, with NaN as null and without secrets.

    Bytes of file names that are no text become U+FFFD.
    """
    text = json.dumps(redacted(plain(record)), indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") + "\n"


def digest(record: Any, length: int, **style: Any) -> str:
    """The beginning of the SHA-256 digest of a record's JSON text, its keys sorted.

    Args:
        record: What JSON can hold; see `plain`.
        length: How many hexadecimal characters.
        **style: Other arguments of `json.dumps` than usual. Stored results are found by these
            digests: whoever changes the style gives them other names.

    Example:
        >>> digest({"b": 1, "a": 2}, 10) == digest({"a": 2, "b": 1}, 10)
        True
    """
    text = json.dumps(record, **{"sort_keys": True, **style})
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def plain(value: Any) -> Any:
    """The value with plain Python numbers, lists for tuples and sets, and None for NaN."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    # No value is numpy's where nobody has imported it: settings alone must not wait for it.
    if "numpy" in sys.modules and isinstance(value, sys.modules["numpy"].generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
