"""How far the reward that tunes without masks can be trusted: every candidate, with both figures.

`study` judges the whole grid by the reward and, for analysis only, by the masks that are true. It
counts pixels at the label map's size: the candidate's masks, of the side that CLIP reads, are
brought there by nearest neighbour. `ovsslib.tuning.study.figures` computes from what is stored.

Letters: B images, C candidates, n classes, K names an image's classes have, S side in
pixels, V rewards.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ovsslib.evaluate.spec import SERIAL, Execution
from ovsslib.io.provenance import provenance
from ovsslib.metrics.iou import confusion_matrix
from ovsslib.tuning.candidates import Candidate, Heads, masks_of
from ovsslib.tuning.objective import Objective
from ovsslib.tuning.reward import Reward
from ovsslib.tuning.search import Space
from ovsslib.tuning.tune import Tuning, opened

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.protocols.protocol import Protocol


@dataclass(frozen=True)
class Study:
    """Reward and pixel counts of every candidate for every image.

    Attributes:
        space: The grid.
        preset: The settings that the search started from, as a candidate: the last of C.
        pictures: B names.
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
    pictures: tuple[str, ...]
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


def study(
    tuning: Tuning,
    execution: Execution = SERIAL,
    *,
    ablate: Sequence[str] = (),
    rewarded: bool = True,
    maps: Path | None = None,
    space: Space | None = None,
) -> Study:
    """Judge the whole grid; the plan of the tuning is not used.

    Args:
        tuning: On what; its filter must not read masks.
        execution: Batch, device, data folder, progress.
        ablate: Options of the reward; all combinations of their values are noted too.
        rewarded: False leaves rewards out, for images that only judge; CLIP takes most of the
            time.
        maps: Folder that keeps the maps of all layers and heads; None for a temporary one.
        space: The grid; None for that of the tuning.

    Raises:
        OvssError: Something is unknown or missing, or a label map cannot be read.
    """
    from ovsslib.evaluate.run import compute_place

    named = tuning.reward.ablated(ablate)
    variants = named if rewarded else []
    model, work, base, store = opened(tuning, execution, maps)
    # Those that show CLIP the same images share its passes.
    alike: dict[tuple[str, ...], list[int]] = {tuning.reward.shown: []}
    for row, one in enumerate(variants):
        alike.setdefault(one.shown, []).append(row)
    objectives = []
    for rows in alike.values():
        options = variants[rows[0]] if rows else tuning.reward
        reward = Reward(
            work.dataset.classes, options, device=execution.device, download=execution.download
        )
        objectives.append((rows, Objective(store, reward, work, base)))
    objective = objectives[0][1]
    space = space or tuning.space(store)
    own = Candidate(base.layer, base.head, base.threshold, base.blur)
    every, n = [*space.grid(), own], len(work.dataset.classes)
    shape = (len(every), len(store), n + 1)
    rewards = np.zeros((len(variants), *shape[:2]), np.float32)
    right, said = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    truth = np.zeros(shape[1:], np.int32)
    numbers: Any = range(len(store))
    if execution.progress is not None:
        numbers = execution.progress(numbers, "pictures", len(store))
    for image in numbers:
        for rows, judge in objectives:
            if rows:
                scopes = [variants[row].scope for row in rows]
                rewards[rows, :, image] = judge.by_scope(every, image, scopes)
        label = work.dataset.label(store.ids[image])
        looked_for = store.labels[image]
        for (layer, head), places in _groups(every):
            of_image = store.maps(image, layer, head)
            ours = [every[place] for place in places]
            planes = masks_of(of_image, ours, objective.reward.size, base.background, base)
            found = confusions(planes, looked_for, label, work.protocol, n)
            right[places, image] = np.einsum("cii->ci", found)
            said[places, image] = found.sum(1)
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
        "options": [dataclasses.asdict(one) for one in variants],
        "size": objective.reward.size,
        "failed": store.failed,
        "provenance": provenance(**compute_place(model.matcher)),
    }
    pairs = np.array([len(objective.labels(image)) for image in range(len(store))])
    return Study(
        space,
        own,
        store.ids,
        pairs,
        tuple(one.label for one in variants),
        rewards,
        right,
        said,
        truth,
        work.protocol.scored_classes(work.dataset),
        work.protocol.absent,
        facts,
    )


def _groups(every: Sequence[Candidate]) -> list[tuple[tuple[int, Heads], list[int]]]:
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
    """Confusion matrices of many candidates for one image, at the label map's size.

    Every pixel of the label map is counted for the mask pixel that is nearest to its centre. Masks
    need not be enlarged for it: how often each label occurs at each mask pixel says the same.

    Args:
        planes: (C, K, S, S) float32 of 0 and 1; at most one plane is 1 at a pixel.
        looked_for: Data-set label of each of the K planes.
        label: (H, W) data-set labels.
        protocol: Says what is compared with what.
        n: Number of the data set's classes, without background.

    Returns:
        (C, n + 1, n + 1) int64, row = true label.

    Example:
        >>> from ovsslib.protocols.protocol import get_protocol
        >>> one = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> rules = get_protocol("pnp-fixed").resolved("diorama")
        >>> confusions(one, [1], np.ones((4, 4), np.uint8), rules, 1)[0].tolist()
        [[0, 0], [12, 4]]
    """
    size = planes.shape[-1]
    there, place = np.unique(label, return_inverse=True)
    down, across = ((2 * np.arange(side) + 1) * size // (2 * side) for side in label.shape)
    pixel = down[:, None] * size + across[None]
    exact = np.float32 if label.size < 1 << 24 else np.float64
    table = np.zeros((size * size, len(there)), exact)
    np.add.at(table, (pixel.ravel(), place.ravel()), 1)
    # float32 holds integers up to 2**24.
    found = planes.flatten(2).to(torch.from_numpy(table).dtype) @ torch.from_numpy(table)
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
