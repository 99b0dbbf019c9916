"""One method under many vocabularies: what its figure owes to the names it is asked for.

Names are exchanged, misspelt, made plural, wider or narrower, and distractors are added
(`ovsslib.protocols.perturb`); images, method, protocol and filter stay. All vocabularies of a
condition go over a batch of images together: an image is read once, and features of its patches
are computed once (`ovsslib.peers.kept`).

A pixel that gets a distractor is background, as for `ovss run --vocabulary`. Besides, a distractor
is a class without ground truth: it scores 0 where absent classes count (`ovsslib.metrics.iou`) and
some pixel got it, and is left out where they are dropped.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.evaluate.comparison import SCHEMA, file_stem, weights_digest
from ovsslib.evaluate.fingerprint import folder as part_of
from ovsslib.evaluate.fingerprint import model_digest
from ovsslib.evaluate.oracles import ROWS, tallies
from ovsslib.evaluate.run import compute_place, load_models, model_label, open_task
from ovsslib.evaluate.spec import SERIAL, Execution, Log, RunSpec
from ovsslib.evaluate.stress_cases import PLAIN, Case, Stress, plain_names, vocabularies
from ovsslib.evaluate.stress_figures import Measured, figures, read_counts, write_counts
from ovsslib.evaluate.task import Sample, Task, batches
from ovsslib.io.files import check_folder, write_atomic
from ovsslib.io.json import digest, dumps
from ovsslib.io.provenance import provenance
from ovsslib.metrics.counts import Counts, confusion_matrix, counts_from_confusion
from ovsslib.peers.kept import features_kept
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.protocols.adapter import windowed
from ovsslib.protocols.perturb import Words, read_words, shipped_words
from ovsslib.protocols.vocabulary import Vocabulary
from ovsslib.protocols.windows import window_maps

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.protocols.protocol import Protocol

Found = dict[str, Counts]
"""Setting -> counts per image."""


def count(protocol: Protocol, labels: np.ndarray, sample: Sample, n: int) -> Counts:
    """Count the pixels of one image, those of distractors apart.

    Args:
        protocol: With the vocabulary.
        labels: (H, W) integers into the sample's names, -1 for background.
        sample: Names and labels that the method was given, and the truth.
        n: Number of the data set's classes, without background.

    Returns:
        Counts of length 1: background with all distractors, n classes, then each distractor as a
        class that is nowhere true.
    """
    extra = protocol.vocabulary.distractors if protocol.vocabulary else ()
    place = {word.casefold(): n + 1 + k for k, word in enumerate(extra)}
    apart = [
        label or place.get(name.casefold(), 0)
        for label, name in zip(sample.looked_for, sample.classes, strict=True)
    ]
    answer, truth, ignore = protocol.compared(labels, apart, sample.truth)
    matrix = confusion_matrix(answer, truth, n + 1 + len(extra), ignore=ignore)
    counts = counts_from_confusion(matrix)
    counts.intersection[:, 0] += matrix[0, n + 1 :].sum()
    counts.predicted[:, 0] += counts.predicted[:, n + 1 :].sum(1)
    return counts


def answers(
    segmenter: Any, protocol: Protocol, dataset: Dataset, batch: Sequence[Sample]
) -> list[np.ndarray]:
    """A method's label maps for images, by the protocol's windows and rules.

    Args:
        segmenter: The method.
        protocol: Resolved for the data set.
        dataset: The data set.
        batch: B images, with the names that it is asked for.

    Returns:
        B maps (H, W) of integers into the names, -1 for background.
    """
    images, names = [each.image for each in batch], [each.classes for each in batch]
    if isinstance(segmenter.config, PnPConfig):
        config = _config(segmenter, protocol, dataset)
        model = PnPOVSS(segmenter.matcher, config)
        maps = window_maps(model, images, names, protocol.window)
        return [each.labels for each in model.refine(maps)]
    found = windowed(segmenter, protocol, dataset).segment_batch(images, names)
    return [each.labels for each in found]


def _config(segmenter: Any, protocol: Protocol, dataset: Dataset) -> Any:
    """The settings that a method runs with: PnP-OVSS follows the protocol's background rule."""
    config = segmenter.config
    if isinstance(config, PnPConfig):
        return config.replace(background=protocol.background(dataset))
    return config


def run(
    segmenter: Any,
    task: Task,
    given: Mapping[str, Vocabulary | None],
    execution: Execution = SERIAL,
    log: Log | None = None,
) -> tuple[tuple[str, ...], Found]:
    """Run a method under several vocabularies, one batch of images after another.

    Args:
        segmenter: The method.
        task: Images and protocol; what its filter finds is looked for under every vocabulary.
        given: Name -> vocabulary; None for the protocol's own names. Those alike are run once.
            The one called `"plain"`, if any, is scored by `ovsslib.evaluate.oracles`, too.
        execution: Batch size, progress.
        log: Notes images that cannot be read, and times.

    Returns:
        Names of the images, and for each vocabulary, and each row of `ROWS`, the counts of `count`.
    """
    log, n = log or Log(), len(task.dataset.classes)
    if isinstance(segmenter.config, PnPConfig):
        task.class_filter.use(segmenter.matcher)
    # Under plain names no class shares its name with background or another.
    plain = Vocabulary.from_dict(PLAIN, plain_names(task.dataset, task.protocol))
    task = dataclasses.replace(task, protocol=dataclasses.replace(task.protocol, vocabulary=plain))
    first: dict[Vocabulary | None, str] = {}
    for name, made in given.items():
        first.setdefault(_alike(made), name)
    rules = {
        name: dataclasses.replace(task.protocol, vocabulary=given[name]) for name in first.values()
    }
    ids: list[str] = []
    parts: dict[str, list[Counts]] = {}
    for batch in batches(task, execution, log):
        ids += [sample.name for sample in batch]
        with features_kept(segmenter):
            for name, protocol in rules.items():
                asked = [_renamed(sample, protocol, task.dataset) for sample in batch]
                with log.timed("segment"):
                    found = answers(segmenter, protocol, task.dataset, asked)
                for sample, labels in zip(asked, found, strict=True):
                    parts.setdefault(name, []).append(count(protocol, labels, sample, n))
                    if name == PLAIN:
                        scored = tallies(protocol, labels, sample.looked_for, sample.truth, n)
                        for row in ROWS[1:]:
                            parts.setdefault(row, []).append(scored[row].counts)
    counts = {name: Counts.stack(some) for name, some in parts.items()}
    for name, made in given.items() if counts else ():
        counts[name] = counts[first[_alike(made)]]
    return tuple(ids), counts


def _alike(made: Vocabulary | None) -> Vocabulary | None:
    """The same for vocabularies that differ in name only."""
    return made and dataclasses.replace(made, name="")


def _renamed(sample: Sample, protocol: Protocol, dataset: Dataset) -> Sample:
    """The sample under a protocol's names; its classes are those that the filter found."""
    labels = dict.fromkeys(label for label in sample.looked_for if label)
    looked_for, classes = protocol.expand(dataset, tuple(labels))
    return dataclasses.replace(sample, looked_for=looked_for, classes=classes)


def measure(
    spec: RunSpec,
    stress: Stress,
    folder: str | os.PathLike[str],
    execution: Execution = SERIAL,
    words: str | os.PathLike[str] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Run a method under many vocabularies and store figures and counts.

    What is done of a condition is kept, so that a call that was broken off continues when nothing
    that can change a number has changed; it is removed at the end.

    Args:
        spec: Method, model and images.
        stress: Which vocabularies.
        folder: For `<name>.json` (figures) and `<name>.images.parquet` (counts per image); made
            when missing.
        execution: Batch, device, data folder, progress.
        words: Folder of other words (`ovsslib.protocols.perturb.read_words`); None for those that
            come with the library for this data set, if any do.

    Returns:
        The JSON file and what it holds; figures as `ovsslib.evaluate.stress_figures.figures` says.

    Raises:
        OvssError: A name is unknown, a file is missing, no image can be read, the run has a
            vocabulary of its own, or the folder cannot be written to.
    """
    if spec.vocabulary:
        raise OvssError("each vocabulary is made here; leave the run's own out")
    folder, start, log = check_folder(folder), time.perf_counter(), Log()
    task = open_task(spec, execution)
    own = Path(words) if words else shipped_words(task.dataset.name)
    lists = read_words(own) if own else Words()
    groups = vocabularies(stress, task, lists)
    (model,) = load_models({"": spec}, execution).values()
    matcher, config = getattr(model, "matcher", None), _config(model, task.protocol, task.dataset)
    key: dict[str, Any] = {
        "method": model.name,
        "vlm": model_label(matcher),
        # Some methods have several models: their files stand for them.
        "weights": weights_digest(matcher)
        if hasattr(matcher, "model")
        else model_digest(spec.vlm)[:10],
        **{name: getattr(spec, name) for name in ("dataset", "split", "limit")},
        "filter": task.filter,
    }
    stem = f"{model.name}_{file_stem(key)}"
    store = check_folder(folder / f"{stem}.parts")
    ids, found = tuple[str, ...](), Found()
    for condition, group in groups.items():
        part = _part(store, condition, group, spec, task, execution)
        given = {case.name: made for case, made in group.items()}
        ids, some = _resumed(part) or run(model, task, given, execution, log)
        if not ids:
            reason = next(iter(log.failed.values()), "there is none")
            raise OvssError(f"no image of {task.dataset.name} could be read: {reason}")
        # Whoever repairs an image and runs again wants it counted.
        if not log.failed:
            write_counts(part, ids, some)
        found |= some
    scored = task.protocol.scored_classes(task.dataset)
    measured = [
        Measured(case, found[case.name], _scored(scored, found[case.name], task))
        for group in groups.values()
        for case in group
    ]
    shown = figures(measured, {row: found[row] for row in ROWS}, scored)
    for group in groups.values():
        for case, made in group.items():
            shown["runs"][case.name] |= _described(task, made)
    record = {
        "schema": SCHEMA,
        "name": stem,
        **key,
        **({"filter_settings": task.class_filter.described} if task.class_filter.described else {}),
        "protocol": task.protocol.to_dict(),
        "config": config.to_dict(),
        "config_hash": config.hash(),
        "batch": execution.batch,
        "stress": dataclasses.asdict(stress) | {"conditions": list(groups)},
        "words": {"name": own.name, "hash": digest(dataclasses.asdict(lists), 10)} if own else None,
        "images": len(ids),
        "failed": log.failed,
        **shown,
        "seconds": round(time.perf_counter() - start, 1),
        "provenance": provenance(**compute_place(matcher)),
    }
    write_counts(folder / f"{stem}.images.parquet", ids, found)
    path = write_atomic(folder / f"{stem}.json", dumps(record))
    shutil.rmtree(store, ignore_errors=True)
    return path, record


def _part(
    store: Path,
    condition: str,
    group: Mapping[Case, Vocabulary | None],
    spec: RunSpec,
    task: Task,
    execution: Execution,
) -> Path:
    """Where the counts of a condition are kept; the name changes with all that can change them."""
    names = {case.name: made and dataclasses.asdict(made) for case, made in group.items()}
    place = part_of(store, dataclasses.replace(spec, vocabulary=names), task, execution.batch)
    return place.with_name(f"{condition}_{place.name}.parquet")


def _resumed(part: Path) -> tuple[tuple[str, ...], Found] | None:
    """What an earlier call measured; None where there is nothing whole."""
    try:
        return read_counts(part) if part.exists() else None
    except OvssError:
        return None


def _scored(scored: Sequence[int], counts: Counts, task: Task) -> tuple[int, ...]:
    """Labels of the mean under a vocabulary: those of the protocol, and its distractors."""
    return (*scored, *range(len(task.dataset.classes) + 1, counts.truth.shape[1]))


def _described(task: Task, made: Vocabulary | None) -> dict[str, Any]:
    """The vocabulary, and how many names the method is asked for when all classes are sought."""
    protocol = dataclasses.replace(task.protocol, vocabulary=made)
    _, names = protocol.expand(task.dataset, range(1, len(task.dataset.classes) + 1))
    return {"vocabulary": made.to_dict() if made else None, "names": len(names)}
