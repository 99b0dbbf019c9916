"""A study of the reward, and its file: one Parquet file each.

Letters: B images, C candidates, n classes, V rewards.
"""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.io.files import check_file, write_atomic
from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.search import Space

SCHEMA = 2
_KEY = b"ovss-tuning-study"


@dataclass(frozen=True)
class Study:
    """Reward and pixel counts of every candidate for every image.

    Attributes:
        space: The grid.
        preset: The settings that the search started from, as a candidate: the last of C.
        images: B names.
        pairs: (B,) int64, how many classes an image is rewarded for.
        variants: V names of rewards (`RewardOptions.label`), the tuning's own first.
        rewards: (V, C, B) float32, what each of them gives.
        intersection: (C, B, n + 1) int32 pixels that are right, background first.
        predicted: (C, B, n + 1) int32 pixels of the candidate's masks.
        truth: (B, n + 1) int32 pixels of the label maps.
        scored: Labels that the mean IoU averages over.
        absent: What a class without ground truth scores (`ovsslib.metrics.iou`).
        facts: Model, data set, options of the reward, provenance.
    """

    space: Space
    preset: Candidate
    images: tuple[str, ...]
    pairs: np.ndarray
    variants: tuple[str, ...]
    rewards: np.ndarray
    intersection: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray
    scored: tuple[int, ...]
    absent: str
    facts: dict[str, Any]

    @property
    def candidates(self) -> list[Candidate]:
        """The grid in its order, then the preset's."""
        return [*self.space.grid(), self.preset]


def save_study(study: Study, path: str | PathLike[str]) -> Path:
    """Write a study as one Parquet file: a row per image and label that occurs in either.

    Columns: `picture`, `label`, `pairs`, `truth`, and lists over the C candidates:
    `intersection`, `predicted` and, in the row of label 0 only, `rewards` (V x C, one reward
    after the other). The schema's metadata hold the rest.

    Raises:
        OvssError: The name does not end in .parquet, or it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_file(path, ".parquet")
    occurs = (study.truth > 0) | study.predicted.any(0)
    occurs[:, 0] = True
    image, label = np.nonzero(occurs)
    meta = {
        "schema": SCHEMA,
        "space": study.space.to_dict(),
        "preset": dataclasses.asdict(study.preset),
        "variants": list(study.variants),
        "scored": list(study.scored),
        "absent": study.absent,
        "labels": study.truth.shape[1],
        "facts": study.facts,
    }
    rewards = [
        study.rewards[:, :, b].ravel() if k == 0 else None
        for b, k in zip(image, label, strict=True)
    ]
    table = pa.table(
        {
            "picture": pa.array([study.images[b] for b in image]),
            "label": pa.array(label, pa.int16()),
            "pairs": pa.array(study.pairs[image], pa.int16()),
            "truth": pa.array(study.truth[image, label], pa.int32()),
            "intersection": pa.array(
                list(study.intersection[:, image, label].T), pa.list_(pa.int32())
            ),
            "predicted": pa.array(list(study.predicted[:, image, label].T), pa.list_(pa.int32())),
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
        images = tuple(dict.fromkeys(str(name) for name in rows["picture"]))
        number = {name: row for row, name in enumerate(images)}
        image, label = np.array([number[name] for name in rows["picture"]]), rows["label"]
        space, variants = Space.from_dict(meta["space"]), tuple(meta["variants"])
        shape = (len(space.grid()) + 1, len(images), int(meta["labels"]))
        counts = {}
        for name in ("intersection", "predicted"):
            counts[name] = np.zeros(shape, np.int32)
            counts[name][:, image, label] = np.stack(list(rows[name])).T
        truth = np.zeros(shape[1:], np.int32)
        truth[image, label] = rows["truth"]
        first = label == 0
        return Study(
            space,
            Candidate(**meta["preset"]),
            images,
            rows["pairs"][first].astype(np.int64),
            variants,
            np.stack([r.reshape(len(variants), shape[0]) for r in rows["rewards"][first]], axis=2),
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
