"""The two halves of PnP-OVSS on a data set: salience maps here, refinement and scoring anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.evaluate.spec import Execution, Log
from ovsslib.evaluate.task import Task, batches
from ovsslib.metrics.counts import Tally
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.refine import refine_maps
from ovsslib.protocols.protocol import Protocol
from ovsslib.protocols.windows import window_maps

if TYPE_CHECKING:
    from ovsslib.pnp.result import Maps
    from ovsslib.vlm.protocol import ImageTextMatcher

REFINEMENT: frozenset[str] = frozenset(
    {
        "threshold",
        "blur",
        "crf",
        "crf_iterations",
        "crf_gaussian_sxy",
        "crf_gaussian_compat",
        "crf_bilateral_sxy",
        "crf_bilateral_srgb",
        "crf_bilateral_compat",
        "crf_backend",
        "pamr",
        "pamr_dilations",
        "background",
        "max_side",
        "align_corners",
        "normalise",
        "constant_planes",
    }
)
"""Settings that change refinement only, not the salience maps."""


@dataclass(frozen=True)
class Pending:
    """One image under one setting, to be refined and scored; plain arrays, for other processes.

    Attributes:
        setting: Name of the setting.
        image: Name of the image.
        maps: Its salience maps.
        config: The setting.
        looked_for: Data-set label of each of the maps' classes (`Protocol.expand`).
        truth: (H, W) data-set labels.
        protocol: Resolved for the data set.
        labels: Number of the data set's classes, without background.
    """

    setting: str
    image: str
    maps: Maps
    config: PnPConfig
    looked_for: tuple[int, ...]
    truth: np.ndarray
    protocol: Protocol
    labels: int


@dataclass(frozen=True)
class Done:
    """What became of a `Pending`: its setting, image and tally, and seconds per stage."""

    setting: str
    image: str
    tally: Tally
    refining: float
    scoring: float


def refine_and_score(pending: Pending) -> Done:
    """Refine one image's maps and count its pixels; runs in a worker process.

    Raises:
        OvssError: As `refine_maps`; the message names the image.
    """
    start = time.perf_counter()
    try:
        prediction = refine_maps(pending.maps, pending.config).labels
    except OvssError as error:
        raise OvssError(f"{pending.image}: {error}") from error
    middle = time.perf_counter()
    tally = pending.protocol.tally(prediction, pending.looked_for, pending.truth, pending.labels)
    end = time.perf_counter()
    return Done(pending.setting, pending.image, tally, middle - start, end - middle)


def salience_groups(configs: Mapping[str, PnPConfig]) -> list[list[str]]:
    """Names of settings that share their salience maps.

    Example:
        >>> base = PnPConfig()
        >>> salience_groups({"a": base, "b": base.replace(rounds=1), "c": base.replace(crf=False)})
        [['a', 'c'], ['b']]
    """
    groups: dict[PnPConfig, list[str]] = {}
    default = PnPConfig()
    same = {name: getattr(default, name) for name in REFINEMENT}
    for name, config in configs.items():
        groups.setdefault(config.replace(**same), []).append(name)
    return list(groups.values())


def pending_images(
    matcher: ImageTextMatcher,
    configs: Mapping[str, PnPConfig],
    task: Task,
    execution: Execution,
    log: Log,
) -> Iterator[Pending]:
    """Salience maps of every image, once per group of settings."""
    from ovsslib.pnp.pipeline import PnPOVSS

    groups = salience_groups(configs)
    models = [PnPOVSS(matcher, configs[group[0]]) for group in groups]
    labels = len(task.dataset.classes)
    for batch in batches(task, execution, log):
        for model, group in zip(models, groups, strict=True):
            with log.timed("salience"):
                batch_maps = window_maps(
                    model,
                    [sample.image for sample in batch],
                    [sample.classes for sample in batch],
                    task.protocol.window,
                )
            for sample, maps in zip(batch, batch_maps, strict=True):
                for name in group:
                    yield Pending(
                        setting=name,
                        image=sample.name,
                        maps=maps,
                        config=configs[name],
                        looked_for=sample.looked_for,
                        truth=sample.truth,
                        protocol=task.protocol,
                        labels=labels,
                    )
