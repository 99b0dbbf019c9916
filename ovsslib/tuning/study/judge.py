"""How far the reward that tunes without masks can be trusted: every candidate, with both figures.

`study` judges the whole grid by the reward and, for analysis only, by the true masks. It counts
pixels at the label map's size: the candidate's masks, of the side that CLIP takes, are brought
there by nearest neighbour. `ovsslib.tuning.study.figures` computes from what is stored.

Letters: B images, C candidates, n classes, K names of an image's classes, S side in pixels, V
rewards.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ovsslib.evaluate.spec import SERIAL, Execution
from ovsslib.io.provenance import provenance
from ovsslib.metrics.counts import confusion_matrix
from ovsslib.tuning.candidates import Candidate, masks_of
from ovsslib.tuning.reward import RewardOptions
from ovsslib.tuning.study.file import Study
from ovsslib.tuning.tune import Tuning, open_tuning

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.protocols.protocol import Protocol


def study(
    tuning: Tuning,
    execution: Execution = SERIAL,
    *,
    ablate: Sequence[str] = (),
    rewarded: bool = True,
) -> Study:
    """Judge the whole grid; the plan of the tuning is not used.

    Args:
        tuning: On what; its filter must not read masks.
        execution: Batch, device, data folder, progress.
        ablate: Options of the reward; all combinations of their values are noted too.
        rewarded: False leaves rewards out, for images that only judge; CLIP takes most of the
            time.

    Raises:
        OvssError: Something is unknown or missing, or a label map cannot be read.
    """
    from ovsslib.evaluate.run import compute_place

    ablated = tuning.reward.ablated(ablate)
    variants = ablated if rewarded else []
    opened = open_tuning(tuning, execution)
    store, base, protocol = opened.store, opened.config, opened.images.protocol
    dataset = opened.images.dataset
    objectives = [
        (rows, opened.objective(variants[rows[0]], execution)) for rows in _alike(variants)
    ]
    # Also without rewards: masks are judged at the size that CLIP takes.
    own = objectives[0][1] if objectives else opened.objective(tuning.reward, execution)
    space = tuning.space(store)
    preset = Candidate(base.layer, base.head, base.threshold, base.blur)
    candidates, n = [*space.grid(), preset], len(dataset.classes)
    shape = (len(candidates), len(store), n + 1)
    rewards = np.zeros((len(variants), *shape[:2]), np.float32)
    right, predicted = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    truth = np.zeros(shape[1:], np.int32)
    progress = execution.progress
    numbers = range(len(store))
    for image in numbers if progress is None else progress(numbers, "images", len(store)):
        for rows, objective in objectives:
            scopes = [variants[row].scope for row in rows]
            rewards[rows, :, image] = objective.by_scope(candidates, image, scopes)
        label, labels = dataset.label(store.ids[image]), store.labels[image]
        keys = [(candidate.layer, candidate.head) for candidate in candidates]
        for (layer, head), group in itertools.groupby(range(len(keys)), key=keys.__getitem__):
            same = list(group)
            few, image_maps = [candidates[row] for row in same], store.maps(image, layer, head)
            planes = masks_of(image_maps, few, own.reward.size, base.background, base)
            matrices = confusions(planes, labels, label, protocol, n)
            right[same, image] = np.einsum("cii->ci", matrices)
            predicted[same, image] = matrices.sum(1)
            truth[image] = matrices[0].sum(1)
    facts = opened.facts(tuning.spec) | {
        "protocol": protocol.name,
        "classes": list(dataset.classes),
        "config": base.to_dict(),
        "options": [dataclasses.asdict(options) for options in variants],
        "size": own.reward.size,
        "provenance": provenance(**compute_place(opened.model.matcher)),
    }
    return Study(
        space,
        preset,
        store.ids,
        np.array(own.pairs),
        tuple(options.label for options in variants),
        rewards,
        right,
        predicted,
        truth,
        protocol.scored_classes(dataset),
        protocol.absent,
        facts,
    )


def _alike(variants: Sequence[RewardOptions]) -> list[list[int]]:
    """Rows of rewards that show CLIP the same images, together: they share its passes."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for row, options in enumerate(variants):
        alike.setdefault(options.shown, []).append(row)
    return list(alike.values())


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
        >>> planes = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> rules = get_protocol("pnp-fixed").resolved("diorama")
        >>> confusions(planes, [1], np.ones((4, 4), np.uint8), rules, 1)[0].tolist()
        [[0, 0], [12, 4]]
    """
    size = planes.shape[-1]
    present, index = np.unique(label, return_inverse=True)
    down, across = ((2 * np.arange(side) + 1) * size // (2 * side) for side in label.shape)
    pixel = down[:, None] * size + across[None]
    # float32 holds integers up to 2**24.
    exact = np.float32 if label.size < 1 << 24 else np.float64
    table = np.zeros((size * size, len(present)), exact)
    np.add.at(table, (pixel.ravel(), index.ravel()), 1)
    counts = planes.flatten(2).to(torch.from_numpy(table).dtype) @ torch.from_numpy(table)
    rest = torch.from_numpy(table.sum(0)) - counts.sum(1, keepdim=True)
    pixels = torch.cat([rest, counts], dim=1).round().long().numpy()  # (C, K + 1, labels)
    names, labels = np.meshgrid(np.arange(-1, len(looked_for)), present, indexing="ij")
    prediction, true, ignore = protocol.compared(names, looked_for, labels)
    # The pairs of the protocol, each once, say which cell a count belongs to.
    out = np.zeros((len(planes), n + 1, n + 1), np.int64)
    for row, column in np.ndindex(names.shape):
        pair = slice(row, row + 1), column
        cell = confusion_matrix(prediction[pair], true[pair], n + 1, ignore=ignore)
        out += pixels[:, row, column, None, None] * cell
    return out
