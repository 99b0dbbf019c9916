"""How far the reward that tunes without masks can be trusted: every candidate, with both figures.

`study` judges the whole grid by the reward and, for analysis only, by the masks that are true. It
counts pixels at the label map's size: the candidate's masks, of the side that CLIP reads, are
brought there by nearest neighbour. `ovsslib.study_figures` computes from what is stored.

Letters: B pictures, C candidates, n classes, K names a picture's classes have, S side in pixels.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ovsslib.candidates import Candidate, Objective, masks_of
from ovsslib.errors import OvssError
from ovsslib.images import write_atomic
from ovsslib.metrics import confusion_matrix
from ovsslib.provenance import provenance
from ovsslib.reward import Reward
from ovsslib.runs import SERIAL, Execution
from ovsslib.tuned import Tuning, opened
from ovsslib.tuning import Space

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.protocols import Protocol

SCHEMA = 1
_KEY = b"ovss-tuning-study"


@dataclass(frozen=True)
class Study:
    """Reward and pixel counts of every candidate for every picture.

    Attributes:
        space: the grid.
        preset: the settings that the search started from, as a candidate: the last of C.
        pictures: B names.
        pairs: (B,) int64, how many classes a picture is rewarded for.
        rewards: (C, B) float32, how many of them win.
        intersection: (C, B, n + 1) int32 pixels that are right, background first.
        predicted: (C, B, n + 1) int32 pixels of the candidate's masks.
        truth: (B, n + 1) int32 pixels of the label maps.
        scored: labels that the mean IoU averages over.
        absent: what a class without ground truth scores (`ovsslib.metrics`).
        facts: model, data set, options of the reward, provenance.
    """

    space: Space
    preset: Candidate
    pictures: tuple[str, ...]
    pairs: np.ndarray
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


def study(tuning: Tuning, execution: Execution = SERIAL) -> Study:
    """Judge the whole grid, the mean over heads included; the plan of the tuning is not used.

    Args:
        tuning: on what; its filter must not read masks.
        execution: batch, device, data folder, progress.

    Raises:
        OvssError: something is unknown or missing, a label map cannot be read, or the reward's
            masks are not hard.
    """
    from ovsslib.benchmark import compute_place

    if tuning.reward.mask != "hard":
        raise OvssError("a study counts pixels of hard masks; leave the reward's mask at 'hard'")
    model, work, base, store = opened(tuning, execution)
    reward = Reward(work.dataset.classes, tuning.reward, device=execution.device)
    objective = Objective(store, reward, work, base)
    space = Space.of(store.layers, store.heads, mean=True)
    own = Candidate(base.layer, base.head, base.threshold, base.blur)
    every, n = [*space.grid(), own], len(work.dataset.classes)
    shape = (len(every), len(store), n + 1)
    rewards = np.zeros(shape[:2], np.float32)
    right, said = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    truth = np.zeros(shape[1:], np.int32)
    numbers: Any = range(len(store))
    if execution.progress is not None:
        numbers = execution.progress(numbers, "pictures", len(store))
    for image in numbers:
        rewards[:, image] = objective.per_image(every, [image])[:, 0]
        label = work.dataset.label(store.ids[image])
        looked_for = store.labels[image]
        for (layer, head), rows in _groups(every):
            maps = store.maps(image, layer, head)
            few = [every[row] for row in rows]
            planes = masks_of(maps, few, reward.size, base.background, base)
            found = confusions(planes, looked_for, label, work.protocol, n)
            right[rows, image] = np.einsum("cii->ci", found)
            said[rows, image] = found.sum(1)
            truth[image] = found[0].sum(1)
    spec = tuning.spec
    facts = {
        "vlm": store.model,
        "dataset": work.dataset.name,
        "split": work.dataset.split,
        "limit": spec.limit,
        "labels": spec.filter,
        "protocol": work.protocol.name,
        "classes": list(work.dataset.classes),
        "config": base.to_dict(),
        "options": dataclasses.asdict(tuning.reward),
        "failed": store.failed,
        "provenance": provenance(**compute_place(model.matcher)),
    }
    pairs = np.array([len(objective.labels(image)) for image in range(len(store))])
    scored, absent = work.protocol.scored_classes(work.dataset), work.protocol.absent
    return Study(space, own, store.ids, pairs, rewards, right, said, truth, scored, absent, facts)


def _groups(every: Sequence[Candidate]) -> list[tuple[tuple[int, int | None], list[int]]]:
    """Rows of candidates that stand together and share layer and head."""
    runs = itertools.groupby(range(len(every)), key=lambda row: (every[row].layer, every[row].head))
    return [(key, list(rows)) for key, rows in runs]


def confusions(
    planes: Tensor,
    looked_for: Sequence[int],
    label: np.ndarray,
    protocol: Protocol,
    n: int,
) -> np.ndarray:
    """Confusion matrices of many candidates for one picture, at the label map's size.

    Every pixel of the label map is counted for the mask pixel that is nearest to its centre. Masks
    need not be enlarged for it: how often each label occurs at each mask pixel says the same.

    Args:
        planes: (C, K, S, S) float32 of 0 and 1; at most one plane is 1 at a pixel.
        looked_for: data-set label of each of the K planes.
        label: (H, W) data-set labels.
        protocol: says what is compared with what.
        n: number of the data set's classes, without background.

    Returns:
        (C, n + 1, n + 1) int64, row = true label.

    Example:
        >>> from ovsslib.protocols import get_protocol
        >>> one = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> rules = get_protocol("pnp-fixed").resolved("diorama")
        >>> confusions(one, [1], np.ones((4, 4), np.uint8), rules, 1)[0].tolist()
        [[0, 0], [12, 4]]
    """
    size = planes.shape[-1]
    there, place = np.unique(label, return_inverse=True)
    down, across = ((2 * np.arange(side) + 1) * size // (2 * side) for side in label.shape)
    pixel = down[:, None] * size + across[None]
    table = np.zeros((size * size, len(there)), np.float32)
    np.add.at(table, (pixel.ravel(), place.ravel()), 1)
    # Floats hold these integers: no picture has 2**24 pixels (`PnPConfig.max_side`).
    found = planes.flatten(2) @ torch.from_numpy(table)
    rest = torch.from_numpy(table.sum(0)) - found.sum(1, keepdim=True)
    pixels = torch.cat([rest, found], dim=1).round().long().numpy()  # (C, K + 1, labels)
    kinds, labels = np.meshgrid(np.arange(-1, len(looked_for)), there, indexing="ij")
    said, true, ignore = protocol.compared(kinds, looked_for, labels)
    # The pairs of the protocol, each once, say which cell a count belongs to.
    out = np.zeros((len(planes), n + 1, n + 1), np.int64)
    for kind, column in np.ndindex(kinds.shape):
        cell = confusion_matrix(
            said[kind : kind + 1, column], true[kind : kind + 1, column], n + 1, ignore=ignore
        )
        out += pixels[:, kind, column, None, None] * cell
    return out


def check_name(path: str | PathLike[str]) -> None:
    """Refuse a file that `save_study` would not write, before the work is done.

    Raises:
        OvssError: the name does not end in .parquet.
    """
    if Path(path).suffix != ".parquet":
        raise OvssError(f"{path}: a study's name ends in .parquet; rename it")


def save_study(found: Study, path: str | PathLike[str]) -> Path:
    """Write a study as one Parquet file: a row per picture and label that occurs in either.

    Columns: ``picture``, ``label``, ``pairs``, ``truth``, and lists over the C candidates:
    ``intersection``, ``predicted`` and, in the row of label 0 only, ``reward``. The schema's
    metadata hold the rest.

    Raises:
        OvssError: the name does not end in .parquet, or it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_name(path)
    kept = (found.truth > 0) | found.predicted.any(0)
    kept[:, 0] = True
    image, label = np.nonzero(kept)
    meta = {
        "schema": SCHEMA,
        "space": found.space.to_dict(),
        "preset": dataclasses.asdict(found.preset),
        "scored": list(found.scored),
        "absent": found.absent,
        "labels": found.truth.shape[1],
        "facts": found.facts,
    }
    rewards = [found.rewards[:, b] if k == 0 else None for b, k in zip(image, label, strict=True)]
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
            "reward": pa.array(rewards, pa.list_(pa.float32())),
        }
    ).replace_schema_metadata({_KEY: json.dumps(meta, sort_keys=True).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=19)
    return write_atomic(path, buffer.getvalue())


def load_study(path: str | PathLike[str]) -> Study:
    """Read what `save_study` wrote.

    Raises:
        OvssError: it is missing, damaged, or no such file.
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
        space = Space(**{name: tuple(values) for name, values in meta["space"].items()})
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
            Candidate(**meta["preset"]),
            pictures,
            rows["pairs"][first].astype(np.int64),
            np.stack(list(rows["reward"][first])).T.astype(np.float32),
            counts["intersection"],
            counts["predicted"],
            truth,
            tuple(meta["scored"]),
            meta["absent"],
            meta["facts"],
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OvssError(f"{path}: no stored study ({reason}); make it again") from error
