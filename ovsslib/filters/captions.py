"""Which classes an image has, from words about it: labels that are known without a mask."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ovsslib.errors import OvssError
from ovsslib.filters.base import ClassFilter

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset


class Captions(ClassFilter):
    """The classes that an image's captions name; `ovss tune` takes it, a run does not."""

    def __call__(self, dataset: Dataset, name: str) -> tuple[int, ...]:
        """As `image_labels`."""
        return image_labels(dataset, name)


def image_labels(dataset: Dataset, name: str) -> tuple[int, ...]:
    """The classes that an image's captions name; no mask is read.

    The captions are in the data set's `captions.jsonl`, which Diorama has. They leave out what few
    would notice (below 0.6 % of the image) and what no caption happens to name.

    Args:
        dataset: Where the captions are.
        name: Name of the image.

    Returns:
        Labels 1..n in rising order.

    Raises:
        OvssError: There are no captions, or none of this image.
    """
    path = Path(getattr(dataset, "root", "")) / "captions.jsonl"
    if not path.is_file():
        raise OvssError(
            f"{dataset.name} has no captions.jsonl to take an image's classes from; give recorded "
            "answers (`ovss filter ask` or import)"
        )
    texts = _captions(path, path.stat().st_mtime_ns)
    if name not in texts:
        raise OvssError(f"{path}: has no captions of {name}; add them, or give recorded answers")
    # Longest first, so that a street light is not a light.
    names = sorted(dataset.classes, key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    named = {match for text in texts[name] for match in pattern.findall(text)}
    return tuple(k for k, words in enumerate(dataset.classes, start=1) if words in named)


@lru_cache(maxsize=4)
def _captions(path: Path, changed: int) -> dict[str, list[str]]:
    """Image -> captions; `changed` tells another version of the file."""
    del changed
    try:
        texts = path.read_text("utf-8-sig").splitlines()
        lines = [json.loads(text) for text in texts if text.strip()]
        return {str(line["id"]): [str(text) for text in line["captions"]] for line in lines}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OvssError(
            f"{path}: cannot be read ({error}); a line is {{'id': ..., 'captions': [...]}}"
        ) from error
