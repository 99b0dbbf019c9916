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
from ovsslib.evaluate.result import RunResult
from ovsslib.evaluate.spec import SERIAL, Execution, Log, RunSpec
from ovsslib.evaluate.stages import pending_images, refine_and_score
from ovsslib.evaluate.task import Task, batches, make_task
from ovsslib.io.pool import ordered
from ovsslib.io.provenance import provenance
from ovsslib.metrics.counts import Ledger
from ovsslib.pnp.config import PnPConfig
from ovsslib.protocols.adapter import windowed

if TYPE_CHECKING:
    from ovsslib.pnp.result import Segmenter
    from ovsslib.vlm.protocol import ImageTextMatcher


def run(segmenter: Segmenter, task: Task, execution: Execution = SERIAL) -> RunResult:
    """Run any method.

    Args:
        segmenter: The method. PnP-OVSS follows the protocol's rule for the background.
        task: Images and protocol.
        execution: Batch size, workers, progress.

    Returns:
        Counts per image; images that could not be read stand in `failed` with the reason.

    Raises:
        OvssError: No image could be read.
    """
    return measure({"run": segmenter}, task, execution)["run"].checked()


def _run(segmenter: Segmenter, task: Task, execution: Execution) -> RunResult:
    """`run` for any method, one image after another; the result may hold no image."""
    start = time.perf_counter()
    log, n = Log(), len(task.dataset.classes)
    ledger = Ledger(n + 1)
    seeing = windowed(segmenter, task.protocol, task.dataset)
    for batch in batches(task, execution, log):
        with log.timed("segment"):
            results = seeing.segment_batch(
                [sample.image for sample in batch], [sample.classes for sample in batch]
            )
        for sample, result in zip(batch, results, strict=True):
            with log.timed("score"):
                counted = task.protocol.tally(result.labels, sample.looked_for, sample.truth, n)
            ledger.add(sample.name, counted)
    return _result(task, segmenter, ledger, log, time.perf_counter() - start)


def run_configs(
    matcher: ImageTextMatcher,
    configs: Mapping[str, PnPConfig],
    task: Task,
    execution: Execution = SERIAL,
) -> dict[str, RunResult]:
    """Run PnP-OVSS with several settings over the same images.

    Settings that differ in refinement only (`ovsslib.evaluate.stages.REFINEMENT`) share the
    salience maps. All runs hold the same images in the same order, so that
    `ovsslib.metrics.iou.paired_interval` applies.

    Args:
        matcher: The vision-language model.
        configs: Name -> settings; the protocol's rule for the background replaces theirs.
        task: Images and protocol.
        execution: Batch size, workers, progress.

    Returns:
        Name -> result. `seconds` is the time of all of them.

    Raises:
        OvssError: A setting does not fit the model, or no image could be read.
    """
    results = _run_configs(matcher, configs, task, execution)
    return {name: result.checked() for name, result in results.items()}


def _run_configs(
    matcher: ImageTextMatcher, configs: Mapping[str, PnPConfig], task: Task, execution: Execution
) -> dict[str, RunResult]:
    """`run_configs`, whose results may hold no image."""
    from ovsslib.pnp.pipeline import PnPOVSS

    start = time.perf_counter()
    task.class_filter.use(matcher)
    rule = task.protocol.background(task.dataset)
    settled = {name: config.replace(background=rule) for name, config in configs.items()}
    log = Log()
    ledgers = {name: Ledger(len(task.dataset.classes) + 1) for name in settled}
    pending = pending_images(matcher, settled, task, execution, log)
    for done in ordered(refine_and_score, pending, execution.refiners, keep=execution.keep):
        ledgers[done.setting].add(done.image, done.tally)
        log.add("refine", done.refining)
        log.add("score", done.scoring)
    seconds = time.perf_counter() - start
    return {
        name: _result(task, PnPOVSS(matcher, config), ledgers[name], log, seconds)
        for name, config in settled.items()
    }


def _result(task: Task, segmenter: Any, ledger: Ledger, log: Log, seconds: float) -> RunResult:
    """A run's result; it may hold no image, see `RunResult.checked`."""
    matcher = getattr(segmenter, "matcher", None)
    config, total = segmenter.config, ledger.total
    return RunResult(
        method=segmenter.name,
        vlm=model_label(matcher),
        dataset=task.dataset.name,
        split=task.dataset.split,
        protocol=task.protocol.to_dict(),
        filter=task.filter,
        config=config.to_dict(),
        config_hash=config.hash(),
        classes=tuple(task.dataset.classes),
        things=frozenset(task.dataset.things),
        scored=task.protocol.scored_classes(task.dataset),
        ids=tuple(ledger.ids),
        counts=total.counts,
        boundary=total.boundary,
        confusion=total.confusion,
        stages=dict(log.stages),
        failed=dict(log.failed),
        seconds=seconds,
        provenance=provenance(**compute_place(matcher)),
        limit=task.limit,
        expected=task.expected,
        filter_settings=task.class_filter.described,
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
        task = open_task(next(iter(group.values())), execution)
        results |= measure(load_models(group, execution), task, execution)
    return {name: results[name].checked() for name in specs}


def groups(specs: Mapping[str, RunSpec]) -> list[dict[str, RunSpec]]:
    """Runs that differ in their settings only, together."""
    alike: dict[tuple[Any, ...], dict[str, RunSpec]] = {}
    for name, spec in specs.items():
        alike.setdefault(spec.shared, {})[name] = spec
    return list(alike.values())


def open_task(spec: RunSpec, execution: Execution) -> Task:
    """The images of a run, and how they are scored; the filter's model is fetched if allowed."""
    data = load_dataset(spec.dataset, execution.root, spec.split)
    named = ("protocol", "filter", "filter_settings", "limit", "vocabulary")
    task = make_task(data, **{key: getattr(spec, key) for key in named})
    if execution.download:
        task.class_filter.fetch()
    return task


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
    models: Mapping[str, Any], task: Task, execution: Execution = SERIAL
) -> dict[str, RunResult]:
    """Run several methods that share a model over the same images, in one pass where possible.

    Args:
        models: Name -> method.
        task: Images and protocol.
        execution: Batch size, workers, progress.

    Returns:
        Name -> result, which holds no image where none could be read (`RunResult.checked`).
    """
    if all(isinstance(getattr(model, "config", None), PnPConfig) for model in models.values()):
        configs = {name: model.config for name, model in models.items()}
        return _run_configs(next(iter(models.values())).matcher, configs, task, execution)
    return {name: _run(model, task, execution) for name, model in models.items()}
