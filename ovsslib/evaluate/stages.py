"""The two halves of PnP-OVSS on a data set: salience maps here, refinement and scoring anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
        "background",
        "max_side",
        "align_corners",
        "normalise",
        "constant_planes",
    }
)
"""Settings that change refinement only, not the salience maps."""


@dataclass(frozen=True)
class Job:
    """Refinement and scoring of one image under one setting: numpy arrays, made to travel."""

    name: str
    picture: str
    maps: Maps
    config: PnPConfig
    looked_for: tuple[int, ...]
    truth: np.ndarray
    protocol: Protocol
    n: int


@dataclass(frozen=True)
class Done:
    """What became of a `Job`: the setting's name, the image's, its tally, seconds per stage."""

    name: str
    picture: str
    tally: Tally
    refining: float
    scoring: float


def refine_and_score(job: Job) -> Done:
    """Refine one image's maps and count its pixels; runs in a worker process."""
    start = time.perf_counter()
    labels = refine_maps(job.maps, job.config).labels
    middle = time.perf_counter()
    found = job.protocol.tally(labels, job.looked_for, job.truth, job.n)
    return Done(job.name, job.picture, found, middle - start, time.perf_counter() - middle)


def salience_groups(configs: Mapping[str, PnPConfig]) -> list[list[str]]:
    """Names of settings that share their salience maps.

    Example:
        >>> base = PnPConfig()
        >>> salience_groups({"a": base, "b": base.replace(rounds=1), "c": base.replace(crf=False)})
        [['a', 'c'], ['b']]
    """
    groups: dict[PnPConfig, list[str]] = {}
    default = PnPConfig().to_dict()
    same = {name: default[name] for name in REFINEMENT}
    for name, config in configs.items():
        groups.setdefault(config.replace(**same), []).append(name)
    return list(groups.values())


def salience_jobs(
    matcher: ImageTextMatcher,
    configs: Mapping[str, PnPConfig],
    work: Task,
    execution: Execution,
    log: Log,
) -> Iterator[Job]:
    """Salience maps of every image, once per group of settings."""
    from ovsslib.pnp.pipeline import PnPOVSS

    groups = salience_groups(configs)
    models = [PnPOVSS(matcher, configs[group[0]]) for group in groups]
    n = len(work.dataset.classes)
    for batch in batches(work, execution, log):
        for model, group in zip(models, groups, strict=True):
            with log.timed("salience"):
                found = window_maps(
                    model,
                    [picture.image for picture in batch],
                    [picture.classes for picture in batch],
                    work.protocol.window,
                )
            for picture, maps in zip(batch, found, strict=True):
                for name in group:
                    yield Job(
                        name=name,
                        picture=picture.name,
                        maps=maps,
                        config=configs[name],
                        looked_for=picture.looked_for,
                        truth=picture.truth,
                        protocol=work.protocol,
                        n=n,
                    )
