"""The two halves of PnP-OVSS on a data set: salience maps here, refinement and scoring anywhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
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
    import torch

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
        maps: Its salience maps, or its labels where it is refined already.
        config: The setting.
        looked_for: Data-set label of each of the maps' classes (`Protocol.expand`).
        truth: (H, W) data-set labels.
        protocol: Resolved for the data set.
        labels: Number of the data set's classes, without background.
    """

    setting: str
    image: str
    maps: Maps | np.ndarray
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
    """Refine one image's maps, if that is not done, and count its pixels; for a worker process.

    Raises:
        OvssError: As `refine_maps`; the message names the image.
    """
    start = time.perf_counter()
    prediction = pending.maps
    if not isinstance(prediction, np.ndarray):
        with named(pending.image):
            prediction = refine_maps(prediction, pending.config).labels
    middle = time.perf_counter()
    tally = pending.protocol.tally(prediction, pending.looked_for, pending.truth, pending.labels)
    end = time.perf_counter()
    return Done(pending.setting, pending.image, tally, middle - start, end - middle)


@contextlib.contextmanager
def named(image: str) -> Iterator[None]:
    """Put an image's name in front of errors."""
    try:
        yield
    except OvssError as error:
        raise OvssError(f"{image}: {error}") from error


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


def in_batches(config: PnPConfig, device: torch.device) -> bool:
    """Whether a batch is refined at once: not on a CPU, where other processes may do it."""
    return config.crf_backend == "torch" and device.type != "cpu"


def pending_images(
    matcher: ImageTextMatcher,
    configs: Mapping[str, PnPConfig],
    task: Task,
    execution: Execution,
    log: Log,
) -> Iterator[Pending]:
    """Salience maps of every image, once per group of settings.

    Where a whole batch is refined at once (`ovsslib.pnp.batched`), that is done here, too.
    """
    from ovsslib.pnp.batched import labels_of
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
            ready: dict[str, Sequence[Maps | np.ndarray]] = dict.fromkeys(group, batch_maps)
            ends = dict.fromkeys((batch[0].name, batch[-1].name))
            for name in group:
                if in_batches(configs[name], model.device):
                    with log.timed("refine"), named(" to ".join(ends)):
                        ready[name] = labels_of(batch_maps, configs[name], model.device)
            for index, sample in enumerate(batch):
                for name in group:
                    yield Pending(
                        setting=name,
                        image=sample.name,
                        maps=ready[name][index],
                        config=configs[name],
                        looked_for=sample.looked_for,
                        truth=sample.truth,
                        protocol=task.protocol,
                        labels=labels,
                    )
