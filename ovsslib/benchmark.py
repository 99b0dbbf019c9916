"""Run a method over a data set, and several settings over one salience pass.

Finding the salience maps (the model) and refining them (threshold to labels) are separate steps, so
that settings which differ in refinement only share one pass of the model, and refinement can run in
other processes beside it. Counts are integers: results do not depend on the number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.config import PnPConfig
from ovsslib.counts import Counts
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters import describe, split_filter
from ovsslib.protocols import Protocol
from ovsslib.provenance import provenance
from ovsslib.refine import refine_maps
from ovsslib.results import RunResult
from ovsslib.runs import SERIAL, Execution, RunSpec
from ovsslib.tasks import Task, batches, task
from ovsslib.windowed import windowed
from ovsslib.windows import window_maps
from ovsslib.workers import ordered

if TYPE_CHECKING:
    from ovsslib.segmentation import Maps, Segmenter
    from ovsslib.vlm.base import ImageTextMatcher

__all__ = ["REFINEMENT", "ablation", "run", "run_many", "salience_groups", "task"]

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


def run(segmenter: Segmenter, work: Task, execution: Execution = SERIAL) -> RunResult:
    """Run any method.

    Args:
        segmenter: the method. PnP-OVSS follows the protocol's rule for the background.
        work: pictures and protocol.
        execution: batch size, workers, progress.

    Returns:
        Counts per picture; pictures that could not be read stand in ``failed`` with the reason.
    """
    if isinstance(getattr(segmenter, "config", None), PnPConfig):
        matcher: ImageTextMatcher = segmenter.matcher  # type: ignore[attr-defined]
        return ablation(matcher, {"run": segmenter.config}, work, execution)["run"]
    start = time.perf_counter()
    failed: dict[str, str] = {}
    names: list[str] = []
    counts: list[Counts] = []
    n = len(work.dataset.classes)
    seeing = windowed(segmenter, work.protocol, work.dataset)
    for batch in batches(work, execution, failed):
        found = seeing.segment_batch(
            [picture.image for picture in batch], [picture.classes for picture in batch]
        )
        for picture, result in zip(batch, found, strict=True):
            names.append(picture.name)
            counts.append(work.protocol.score(result.labels, picture.looked_for, picture.truth, n))
    return _result(work, segmenter, (names, counts, failed), time.perf_counter() - start)


def ablation(
    matcher: ImageTextMatcher,
    configs: Mapping[str, PnPConfig],
    work: Task,
    execution: Execution = SERIAL,
) -> dict[str, RunResult]:
    """Run PnP-OVSS with several settings over the same pictures.

    Settings that differ in refinement only (`REFINEMENT`) share the salience maps. All runs hold
    the same pictures in the same order, so that `ovsslib.metrics.paired_interval` applies.

    Args:
        matcher: the vision-language model.
        configs: name -> settings; the protocol's rule for the background replaces theirs.
        work: pictures and protocol.
        execution: batch size, workers, progress.

    Returns:
        Name -> result. ``seconds`` is the time of the whole ablation.

    Raises:
        OvssError: a setting does not fit the model.
    """
    from ovsslib.pnp import PnPOVSS

    start = time.perf_counter()
    if hasattr(work.looks, "use"):
        work.looks.use(matcher)
    rule = work.protocol.background(work.dataset)
    settled = {name: config.replace(background=rule) for name, config in configs.items()}
    failed: dict[str, str] = {}
    names: dict[str, list[str]] = {name: [] for name in settled}
    counts: dict[str, list[Counts]] = {name: [] for name in settled}
    jobs = _jobs(matcher, settled, work, execution, failed)
    for name, picture, found in ordered(refine_and_score, jobs, execution.workers):
        names[name].append(picture)
        counts[name].append(found)
    seconds = time.perf_counter() - start
    return {
        name: _result(work, PnPOVSS(matcher, config), (names[name], counts[name], failed), seconds)
        for name, config in settled.items()
    }


@dataclass(frozen=True)
class Job:
    """Refinement and scoring of one picture under one setting: numpy arrays, made to travel."""

    name: str
    picture: str
    maps: Maps
    config: PnPConfig
    looked_for: tuple[int, ...]
    truth: np.ndarray
    protocol: Protocol
    n: int


def refine_and_score(job: Job) -> tuple[str, str, Counts]:
    """Refine one picture's maps and count its pixels; runs in a worker process.

    Returns:
        Name of the setting, name of the picture, its counts.
    """
    labels = refine_maps(job.maps, job.config).labels
    return job.name, job.picture, job.protocol.score(labels, job.looked_for, job.truth, job.n)


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


def _jobs(
    matcher: ImageTextMatcher,
    configs: Mapping[str, PnPConfig],
    work: Task,
    execution: Execution,
    failed: dict[str, str],
) -> Iterator[Job]:
    """Salience maps of every picture, once per group of settings."""
    from ovsslib.pnp import PnPOVSS

    groups = salience_groups(configs)
    models = [PnPOVSS(matcher, configs[group[0]]) for group in groups]
    n = len(work.dataset.classes)
    for batch in batches(work, execution, failed):
        for model, group in zip(models, groups, strict=True):
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


def _result(
    work: Task,
    segmenter: Any,
    found: tuple[list[str], list[Counts], dict[str, str]],
    seconds: float,
) -> RunResult:
    """A run's result; every picture unreadable is an error."""
    names, counts, failed = found
    if not names:
        reason = next(iter(failed.values()), "there is none")
        raise OvssError(f"no picture of {work.dataset.name} could be read: {reason}")
    matcher = getattr(segmenter, "matcher", None)
    config = segmenter.config
    return RunResult(
        method=segmenter.name,
        vlm=model_label(matcher),
        dataset=work.dataset.name,
        split=work.dataset.split,
        protocol=work.protocol.to_dict(),
        filter=split_filter(work.filter, work.filter_settings)[0],
        config=config.to_dict(),
        config_hash=config.hash(),
        classes=tuple(work.dataset.classes),
        things=frozenset(work.dataset.things),
        scored=work.protocol.scored_classes(work.dataset),
        ids=tuple(names),
        counts=Counts.stack(counts),
        failed=dict(failed),
        seconds=seconds,
        provenance=provenance(**compute_place(matcher)),
        limit=work.limit,
        filter_settings=describe(work.looks),
    )


def compute_place(matcher: Any) -> dict[str, str]:
    """Device and number type of a model, for `provenance`."""
    return {"device": str(getattr(matcher, "device", "cpu")), "dtype": precision(matcher)}


def precision(matcher: Any) -> str:
    """What a model computes in, as `ovsslib.vlm.load_vlm` calls it."""
    kind = getattr(matcher, "precision", None) or getattr(matcher, "dtype", "float32")
    return str(kind).removeprefix("torch.")


def model_label(matcher: Any) -> str:
    """A model's name, with its number type where that is not float32: figures depend on it."""
    kind, name = precision(matcher), str(getattr(matcher, "name", "none"))
    return name if kind == "float32" else f"{name}@{kind}"


def run_many(specs: Mapping[str, RunSpec], execution: Execution = SERIAL) -> dict[str, RunResult]:
    """Load what the runs need and run them; those alike but in settings share model and pictures.

    Args:
        specs: name -> run.
        execution: batch size, workers, device, data folder, progress.

    Returns:
        Name -> result.

    Raises:
        OvssError: a name is unknown, a file is missing, or a setting does not fit.
    """
    import ovsslib

    alike: dict[tuple[Any, ...], dict[str, RunSpec]] = {}
    for name, spec in specs.items():
        alike.setdefault(spec.shared, {})[name] = spec
    results: dict[str, RunResult] = {}
    for group in alike.values():
        first = next(iter(group.values()))
        data = load_dataset(first.dataset, execution.root, first.split)
        named = ("protocol", "filter", "filter_settings", "limit")
        work = task(data, **{key: getattr(first, key) for key in named})
        models: dict[str, Any] = {}
        vlm: Any = first.vlm
        for name, spec in group.items():
            place = {"device": execution.device, "dtype": spec.dtype}
            options = {"preset": spec.preset, **place, **spec.config}
            models[name] = ovsslib.load(spec.method, vlm=vlm, **options)
            # One model in memory serves the whole group.
            vlm = getattr(models[name], "matcher", vlm)
        if all(isinstance(model.config, PnPConfig) for model in models.values()):
            matcher = next(iter(models.values())).matcher
            configs = {name: model.config for name, model in models.items()}
            results |= ablation(matcher, configs, work, execution)
        else:
            results |= {name: run(model, work, execution) for name, model in models.items()}
    return {name: results[name] for name in specs}
