"""Secrets cut out of every text that leaves the process: errors, logs, results, notebooks.

Secret is what stands in an environment variable named like one (`OPENAI_API_KEY`, `HF_TOKEN`),
what `watch` was told of, passwords in addresses, and what looks like a key.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

LEAST = 8
"""Characters of a secret; what is shorter, such as a local server's `"none"`, is a word."""
_NAMED = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/\s@]*?:([^/\s@]+)@")
# A header, a parameter of an address, its user and password, then keys (some servers star them).
_LIKE = (
    r"(\bBearer\s+|[?&][\w-]*(?i:key|token|secret|signature|password)=)[^\s&#'\"]+"
    r"|(?<=://)[^/\s@'\"]+(?=@)|\bsk-[\w.-]*\*[\w*.-]*|\bsk-[\w-]{16,}|\bhf_\w{16,}"
)
_watched: set[str] = set()


def watch(secret: str) -> None:
    """Cut this out from now on, wherever it came from."""
    _watched.add(secret)


def redact(text: str) -> str:
    """The text with `[key]` for every secret.

    Example:
        >>> redact("Incorrect key: sk-proj***wxyz, sent as Bearer abc to http://me:pass@host/v1")
        'Incorrect key: [key], sent as Bearer [key] to http://[key]@host/v1'
    """
    return _hide(_pattern(frozenset(_secrets())), text)


def redacted(value: Any) -> Any:
    """Plain data, such as a record of a result, with every text in it redacted."""
    pattern = _pattern(frozenset(_secrets()))

    def clean(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: clean(one) for key, one in item.items()}
        if isinstance(item, list):
            return [clean(one) for one in item]
        return _hide(pattern, item) if isinstance(item, str) else item

    return clean(value)


def _hide(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: f"{found[1] or ''}[key]", text)


def _secrets() -> Iterator[str]:
    yield from tuple(_watched)
    for name in tuple(os.environ):  # both may change meanwhile: many threads ask
        value = os.environ.get(name, "")
        yield from [value] if _NAMED.search(name) else _PASSWORD.findall(value)


@functools.lru_cache(maxsize=8)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    """What finds the secrets, the longest first: a secret's beginning may be another."""
    forms = {form for secret in secrets for form in _forms(secret) if len(form) >= LEAST}
    return re.compile("|".join([*map(re.escape, sorted(forms, key=len, reverse=True)), _LIKE]))


def _forms(secret: str) -> Iterator[str]:
    """A secret, and each line of it, as written, put on one line, and escaped in any usual way."""
    for text in {secret, *re.split(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", secret)}:
        plain, raw = text.strip(), text.strip().encode("utf-8", "surrogateescape")
        yield from (plain, " ".join(plain.split()), repr(plain)[1:-1], ascii(plain)[1:-1])
        yield from (repr(raw)[2:-1], json.dumps(plain)[1:-1], quote(raw, safe=""))
