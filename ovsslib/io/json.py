"""Records as plain JSON: Python's own numbers, no tuples, null for what is not a number."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np

from ovsslib.redact import redacted


def dumps(record: dict[str, Any]) -> str:
    """JSON text of a record, indented, with NaN as null and without secrets."""
    return json.dumps(redacted(plain(record)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


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
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
