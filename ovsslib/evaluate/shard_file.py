"""Parts of a run on disk: which images belong to a shard, and its one Parquet file.

Shards are cut by position in the split, so that they do not depend on who computes them. A file
holds integers only, one row per number that is not 0, and in its metadata what the run was; it is
written to a temporary name and renamed, so that a file that is there is whole.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.evaluate.result import RunResult, plain
from ovsslib.io.files import write_atomic
from ovsslib.lookup import Count, check_types
from ovsslib.metrics.counts import COUNT_NAMES, Counts
from ovsslib.redact import redacted

T = TypeVar("T")

SCHEMA = 1
_META = b"ovsslib.shard"
_PAIR = "confusion"
_AREAS = {f"{part}{name}": (part, name) for part in ("", "boundary_") for name in COUNT_NAMES}


@dataclass(frozen=True)
class Shard:
    """Images `start` to before `stop` of a run.

    Attributes:
        index: 0-based number.
        count: Number of shards.
        start: First image.
        stop: Behind the last.
    """

    index: int
    count: int
    start: int
    stop: int

    def file(self, folder: Path) -> Path:
        """Its file in the folder of a run's shards."""
        return folder / f"{folder.name}-{self.index:05d}-of-{self.count:05d}.parquet"


def cut(images: int, size: int) -> list[Shard]:
    """Cut a run into shards.

    Args:
        images: How many there are.
        size: Pictures of a shard; the last may have fewer.

    Raises:
        OvssError: The size is not positive.

    Example:
        >>> [(shard.start, shard.stop) for shard in cut(5, 2)]
        [(0, 2), (2, 4), (4, 5)]
    """
    check_types({"size": size}, {"size": Count}, "a shard's ")
    starts = range(0, images, size)
    return [
        Shard(index, len(starts), start, min(start + size, images))
        for index, start in enumerate(starts)
    ]


def write(result: RunResult, path: Path) -> Path:
    """Write a part of a run.

    Raises:
        OvssError: It cannot be written; nothing of it is left then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("image", "kind", "label", "other", "pixels")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for kind, (part, name) in _AREAS.items():
        values = getattr(_there(result.boundary) if part else result.counts, name)
        image, label = np.nonzero(values)
        _add(columns, image, kind, label, np.full(len(label), -1), values[image, label])
    matrix = _there(result.confusion)
    truth, predicted = np.nonzero(matrix)
    pixels = matrix[truth, predicted]
    _add(columns, np.full(len(truth), -1), _PAIR, truth, predicted, pixels)
    table = pa.table({name: np.concatenate(parts) for name, parts in columns.items()})
    table = table.replace_schema_metadata({_META: json.dumps(_facts(result)).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, use_dictionary=["kind"])
    return write_atomic(path, buffer.getvalue())


def _add(
    columns: dict[str, list[Any]], image: Any, kind: str, label: Any, other: Any, n: Any
) -> None:
    rows = {
        "image": image.astype(np.int32),
        "kind": np.full(len(image), kind, object),
        "label": label.astype(np.int32),
        "other": other.astype(np.int32),
        "pixels": n.astype(np.int64),
    }
    for name, values in rows.items():
        columns[name].append(values)


def _there(value: T | None) -> T:
    """What every run of today counts; results of old files may lack it."""
    if value is None:
        raise OvssError("a result without boundaries and confusions is no part of a run")
    return value


_FACTS = (
    *("method", "vlm", "dataset", "split", "protocol", "filter", "config", "config_hash"),
    *("classes", "things", "scored", "limit", "filter_settings", "expected"),
)
"""What all shards of a run have in common."""


def _facts(result: RunResult) -> dict[str, Any]:
    more = ("ids", "failed", "seconds", "stages", "provenance")
    facts = {"schema": SCHEMA} | {name: getattr(result, name) for name in (*_FACTS, *more)}
    return plain(facts | {"failed": redacted(result.failed)})


def read(path: Path) -> RunResult:
    """Read a part of a run.

    Raises:
        OvssError: There is none, or the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        facts = json.loads(table.schema.metadata[_META])
        if facts.pop("schema") != SCHEMA:
            raise ValueError("it has another schema")
        image, label, other = (table[name].to_numpy() for name in ("image", "label", "other"))
        kind, pixels = table["kind"].to_numpy(), table["pixels"].to_numpy()
        shape = (len(facts["ids"]), len(facts["classes"]) + 1)
        areas = {}
        for name in _AREAS:
            areas[name] = np.zeros(shape, np.int64)
            mine = kind == name
            areas[name][image[mine], label[mine]] = pixels[mine]
        confusion = np.zeros(shape[1:] * 2, np.int64)
        mine = kind == _PAIR
        confusion[label[mine], other[mine]] = pixels[mine]
        counts, near = (
            Counts(*(areas[part + name] for name in COUNT_NAMES)) for part in ("", "boundary_")
        )
        facts |= {name: tuple(facts[name]) for name in ("ids", "classes", "scored")}
        facts |= {"things": frozenset(facts["things"])}
        return RunResult(**facts, counts=counts, boundary=near, confusion=confusion)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OvssError(
            f"{path}: no shard of a run can be read there ({reason}); delete it and run again"
        ) from error


def merge(parts: Sequence[RunResult]) -> RunResult:
    """One result out of all parts of a run, in their order.

    Sums of integers: the result is the same whoever computed the parts. `seconds` and
    `stages` are sums over the parts, `provenance` is that of the first part.

    Raises:
        OvssError: There is no part, or they are not of one run.
    """
    if not parts:
        raise OvssError("there is no part of a run to merge")
    first = parts[0]
    for part in parts:
        for name in _FACTS:
            if getattr(part, name) != getattr(first, name):
                raise OvssError(
                    f"parts of one run differ in {name} ({getattr(first, name)!r} and "
                    f"{getattr(part, name)!r}); run it again with --fresh"
                )
    stages: dict[str, float] = {}
    for part in parts:
        for stage, seconds in part.stages.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    confusion = np.sum([_there(part.confusion) for part in parts], axis=0)
    return dataclasses.replace(
        first,
        ids=tuple(name for part in parts for name in part.ids),
        counts=Counts.stack([part.counts for part in parts]),
        boundary=Counts.stack([_there(part.boundary) for part in parts]),
        confusion=confusion,
        failed={name: reason for part in parts for name, reason in part.failed.items()},
        seconds=sum(part.seconds for part in parts),
        stages=stages,
    )
