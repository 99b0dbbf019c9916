"""Studies of the reward as files: one Parquet file each."""

from __future__ import annotations

import dataclasses
import io
import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.io.files import check_suffix, write_atomic
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.search import Space
from ovsslib.tuning.study.judge import Study

SCHEMA = 2
_KEY = b"ovss-tuning-study"


def save_study(found: Study, path: str | PathLike[str]) -> Path:
    """Write a study as one Parquet file: a row per image and label that occurs in either.

    Columns: `picture`, `label`, `pairs`, `truth`, and lists over the C candidates:
    `intersection`, `predicted` and, in the row of label 0 only, `rewards` (V x C, one reward
    after the other). The schema's metadata hold the rest.

    Raises:
        OvssError: The name does not end in .parquet, or it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_suffix(path, ".parquet")
    kept = (found.truth > 0) | found.predicted.any(0)
    kept[:, 0] = True
    image, label = np.nonzero(kept)
    meta = {
        "schema": SCHEMA,
        "space": found.space.to_dict(),
        "preset": dataclasses.asdict(found.preset),
        "variants": list(found.variants),
        "scored": list(found.scored),
        "absent": found.absent,
        "labels": found.truth.shape[1],
        "facts": found.facts,
    }
    rewards = [
        found.rewards[:, :, b].ravel() if k == 0 else None
        for b, k in zip(image, label, strict=True)
    ]
    table = pa.table(
        {
            "picture": pa.array([found.pictures[b] for b in image]),
            "label": pa.array(label, pa.int16()),
            "pairs": pa.array(found.pairs[image], pa.int16()),
            "truth": pa.array(found.truth[image, label], pa.int32()),
            "intersection": pa.array(
                list(found.intersection[:, image, label].T), pa.list_(pa.int32())
            ),
            "predicted": pa.array(list(found.predicted[:, image, label].T), pa.list_(pa.int32())),
            "rewards": pa.array(rewards, pa.list_(pa.float32())),
        }
    ).replace_schema_metadata({_KEY: json.dumps(meta, sort_keys=True).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=19)
    return write_atomic(path, buffer.getvalue())


def load_study(path: str | PathLike[str]) -> Study:
    """Read what `save_study` wrote.

    Raises:
        OvssError: It is missing, damaged, or no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        meta = json.loads(table.schema.metadata[_KEY])
        if meta["schema"] != SCHEMA:
            raise ValueError(f"schema {meta['schema']}, not {SCHEMA}")
        rows = {name: table[name].to_numpy() for name in table.column_names}
        pictures = tuple(dict.fromkeys(str(name) for name in rows["picture"]))
        number = {name: place for place, name in enumerate(pictures)}
        image, label = np.array([number[name] for name in rows["picture"]]), rows["label"]
        space, variants = Space.from_dict(meta["space"]), tuple(meta["variants"])
        shape = (len(space.grid()) + 1, len(pictures), int(meta["labels"]))
        counts = {}
        for name in ("intersection", "predicted"):
            counts[name] = np.zeros(shape, np.int32)
            counts[name][:, image, label] = np.stack(list(rows[name])).T
        truth = np.zeros(shape[1:], np.int32)
        truth[image, label] = rows["truth"]
        first = label == 0
        return Study(
            space,
            Candidate(**_heads(meta["preset"])),
            pictures,
            rows["pairs"][first].astype(np.int64),
            variants,
            np.stack(
                [one.reshape(len(variants), shape[0]) for one in rows["rewards"][first]], axis=2
            ),
            counts["intersection"],
            counts["predicted"],
            truth,
            tuple(meta["scored"]),
            meta["absent"],
            meta["facts"],
        )
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        pa.ArrowException,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OvssError(f"{path}: no stored study ({reason}); make it again") from error


def _heads(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples."""
    head = fields["head"]
    return fields | {"head": tuple(head) if isinstance(head, list) else head}
