"""Run a method over a data set, and several settings over one salience pass.

Finding the salience maps (the model) and refining them (threshold to labels) are separate steps, so
that settings which differ in refinement only share one pass of the model, and refinement can run in
other processes beside it. Counts are integers: results do not depend on the number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ovsslib.datasets import load_dataset
from ovsslib.evaluate.pool import ordered
from ovsslib.evaluate.result import RunResult
from ovsslib.evaluate.spec import SERIAL, Execution, Log, RunSpec
from ovsslib.evaluate.stages import REFINEMENT, refine_and_score, salience_groups, salience_jobs
from ovsslib.evaluate.task import Task, batches, task
from ovsslib.filters import split_filter
from ovsslib.io.provenance import provenance
from ovsslib.metrics.counts import Ledger
from ovsslib.pnp.config import PnPConfig
from ovsslib.protocols.adapter import windowed

if TYPE_CHECKING:
    from ovsslib.pnp.result import Segmenter
    from ovsslib.vlm.protocol import ImageTextMatcher

__all__ = ["REFINEMENT", "ablation", "load_models", "measure", "run", "run_many", "salience_groups"]


def run(segmenter: Segmenter, work: Task, execution: Execution = SERIAL) -> RunResult:
    """Run any method.

    Args:
        segmenter: The method. PnP-OVSS follows the protocol's rule for the background.
        work: Images and protocol.
        execution: Batch size, workers, progress.

    Returns:
        Counts per image; images that could not be read stand in `failed` with the reason.

    Raises:
        OvssError: No image could be read.
    """
    return measure({"run": segmenter}, work, execution)["run"].checked()


def _run(segmenter: Segmenter, work: Task, execution: Execution) -> RunResult:
    """`run` for any method, one image after another; the result may hold no image."""
    start = time.perf_counter()
    log, n = Log(), len(work.dataset.classes)
    ledger = Ledger(n + 1)
    seeing = windowed(segmenter, work.protocol, work.dataset)
    for batch in batches(work, execution, log):
        with log.timed("segment"):
            found = seeing.segment_batch(
                [picture.image for picture in batch], [picture.classes for picture in batch]
            )
        for picture, result in zip(batch, found, strict=True):
            with log.timed("score"):
                counted = work.protocol.tally(result.labels, picture.looked_for, picture.truth, n)
            ledger.add(picture.name, counted)
    return _result(work, segmenter, ledger, log, time.perf_counter() - start)


def ablation(
    matcher: ImageTextMatcher,
    configs: Mapping[str, PnPConfig],
    work: Task,
    execution: Execution = SERIAL,
) -> dict[str, RunResult]:
    """Run PnP-OVSS with several settings over the same images.

    Settings that differ in refinement only (`REFINEMENT`) share the salience maps. All runs hold
    the same images in the same order, so that `ovsslib.metrics.iou.paired_interval` applies.

    Args:
        matcher: The vision-language model.
        configs: Name -> settings; the protocol's rule for the background replaces theirs.
        work: Images and protocol.
        execution: Batch size, workers, progress.

    Returns:
        Name -> result. `seconds` is the time of the whole ablation.

    Raises:
        OvssError: A setting does not fit the model, or no image could be read.
    """
    found = _ablation(matcher, configs, work, execution)
    return {name: result.checked() for name, result in found.items()}


def _ablation(
    matcher: ImageTextMatcher, configs: Mapping[str, PnPConfig], work: Task, execution: Execution
) -> dict[str, RunResult]:
    """`ablation`, whose results may hold no image."""
    from ovsslib.pnp.pipeline import PnPOVSS

    start = time.perf_counter()
    work.class_filter.use(matcher)
    rule = work.protocol.background(work.dataset)
    settled = {name: config.replace(background=rule) for name, config in configs.items()}
    log = Log()
    ledgers = {name: Ledger(len(work.dataset.classes) + 1) for name in settled}
    jobs = salience_jobs(matcher, settled, work, execution, log)
    for done in ordered(refine_and_score, jobs, execution.workers, keep=execution.keep):
        ledgers[done.name].add(done.picture, done.tally)
        log.add("refine", done.refining)
        log.add("score", done.scoring)
    seconds = time.perf_counter() - start
    return {
        name: _result(work, PnPOVSS(matcher, config), ledgers[name], log, seconds)
        for name, config in settled.items()
    }


def _result(work: Task, segmenter: Any, ledger: Ledger, log: Log, seconds: float) -> RunResult:
    """A run's result; it may hold no image, see `RunResult.checked`."""
    matcher = getattr(segmenter, "matcher", None)
    config, total = segmenter.config, ledger.total
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
        ids=tuple(ledger.ids),
        counts=total.counts,
        boundary=total.boundary,
        confusion=total.confusion,
        stages=dict(log.stages),
        failed=dict(log.failed),
        seconds=seconds,
        provenance=provenance(**compute_place(matcher)),
        limit=work.limit,
        filter_settings=work.class_filter.described,
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
    """Load what the runs need and run them; those alike but in settings share model and images.

    Args:
        specs: Name -> run.
        execution: Batch size, workers, device, data folder, progress.

    Returns:
        Name -> result.

    Raises:
        OvssError: A name is unknown, a file is missing, or a setting does not fit.
    """
    results: dict[str, RunResult] = {}
    for group in groups(specs):
        work = open_task(next(iter(group.values())), execution)
        results |= measure(load_models(group, execution), work, execution)
    return {name: results[name].checked() for name in specs}


def groups(specs: Mapping[str, RunSpec]) -> list[dict[str, RunSpec]]:
    """Runs that differ in their settings only, together."""
    alike: dict[tuple[Any, ...], dict[str, RunSpec]] = {}
    for name, spec in specs.items():
        alike.setdefault(spec.shared, {})[name] = spec
    return list(alike.values())


def open_task(spec: RunSpec, execution: Execution) -> Task:
    """The pictures of a run, and how they are scored."""
    data = load_dataset(spec.dataset, execution.root, spec.split)
    named = ("protocol", "filter", "filter_settings", "limit")
    return task(data, **{key: getattr(spec, key) for key in named})


def load_models(group: Mapping[str, RunSpec], execution: Execution) -> dict[str, Any]:
    """The methods of a group of runs; one model in memory serves all of them."""
    import ovsslib

    models: dict[str, Any] = {}
    vlm: Any = next(iter(group.values())).vlm
    for name, spec in group.items():
        place: dict[str, Any] = {"device": execution.device, "dtype": spec.dtype}
        if execution.download:
            place["download"] = True
        models[name] = ovsslib.load(
            spec.method, vlm=vlm, **{"preset": spec.preset, **place, **spec.config}
        )
        vlm = getattr(models[name], "matcher", vlm)
    return models


def measure(
    models: Mapping[str, Any], work: Task, execution: Execution = SERIAL
) -> dict[str, RunResult]:
    """Run several methods that share a model over the same images, in one pass where possible.

    Args:
        models: Name -> method.
        work: Images and protocol.
        execution: Batch size, workers, progress.

    Returns:
        Name -> result, which holds no image where none could be read (`RunResult.checked`).
    """
    if all(isinstance(getattr(model, "config", None), PnPConfig) for model in models.values()):
        configs = {name: model.config for name, model in models.items()}
        return _ablation(next(iter(models.values())).matcher, configs, work, execution)
    return {name: _run(model, work, execution) for name, model in models.items()}
