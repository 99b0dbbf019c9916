"""Does the gradient help? Gradient, heads and dropout of PnP-OVSS, in all combinations.

Layer, head, threshold and blur are chosen by the reward, without masks, for attention and for
GradCAM apart, among single heads and among means over the heads of a layer. Each of the four
choices is then run without and with Salience DropOut; so is attention with what was chosen for
GradCAM among single heads, which shows the gradient's share and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.comparison import measure
from ovsslib.evaluate.erasure import erasure
from ovsslib.evaluate.gradient import by_certainty, layer_head_gradient
from ovsslib.evaluate.run import load_models
from ovsslib.evaluate.spec import SERIAL, Execution, RunSpec
from ovsslib.io.files import read_text
from ovsslib.pnp.config import PnPConfig
from ovsslib.tuning.search import search
from ovsslib.tuning.tune import Tuning, open_tuning
from ovsslib.vlm import find_checkpoint

SALIENCES = ("attention", "gradcam")
HEADS = ("one", "mean")
SAME = "same"
"""Heads of attention that takes what was chosen for GradCAM among single heads."""


def cell(salience: str, heads: str, *, dropout: bool) -> str:
    """Name of a combination.

    Args:
        salience: One of `SALIENCES`.
        heads: One of `HEADS`, or `SAME`.
        dropout: Whether there is more than one round.

    Example:
        >>> cell("gradcam", "one", dropout=True)
        'gradcam, one, dropout'
    """
    return f"{salience}, {heads}" + (", dropout" if dropout else "")


def choose(
    tuning: Tuning, execution: Execution = SERIAL, *, storage: Path | None = None
) -> dict[tuple[str, str], PnPConfig]:
    """The four choices of the reward.

    Args:
        tuning: Images, plan, reward; its `mean_head` is not used.
        execution: Batch, device, data folder, progress.
        storage: See `ovsslib.tuning.tune.tune`.

    Returns:
        (salience, heads) -> settings, the rest as given.

    Raises:
        OvssError: As `ovsslib.tuning.tune.tune`.
    """
    chosen = {}
    for salience in SALIENCES:
        config = {**tuning.spec.config, "salience": salience}
        opened = open_tuning(
            dataclasses.replace(tuning, spec=dataclasses.replace(tuning.spec, config=config)),
            execution,
        )
        objective = opened.objective(tuning.reward, execution)
        space = tuning.space(opened.store)
        numbers = tuple(head for head in space.heads if head is not None)
        for heads, searched in (("one", numbers), ("mean", (None,))):
            part = dataclasses.replace(space, heads=searched)
            found = search(
                objective,
                part,
                tuning.plan,
                storage=storage,
                name=opened.study_name(tuning, part),
                progress=execution.progress,
            )
            chosen[salience, heads] = opened.model.config.replace(**vars(found.best.candidate))
    return chosen


def combinations(chosen: Mapping[tuple[str, str], PnPConfig]) -> dict[str, PnPConfig]:
    """All settings that are compared.

    Args:
        chosen: From `choose`; how many rounds DropOut takes is theirs.

    Returns:
        `cell` -> settings, the whole method with one head first.
    """
    bases = {key: chosen[key] for key in sorted(chosen, reverse=True)}
    bases["attention", SAME] = chosen["gradcam", "one"].replace(salience="attention")
    return {
        cell(*key, dropout=dropout): config if dropout else config.replace(rounds=1)
        for dropout in (True, False)
        for key, config in bases.items()
    }


def training_of(vlm: str, *, download: bool = False) -> dict[str, Any] | None:
    """How a micro model was trained: its command, seed, steps and last held-out figures.

    Args:
        vlm: See `ovsslib.vlm.find_checkpoint`.
        download: The same.

    Returns:
        None for a model that `ovss train` did not make.

    Raises:
        OvssError: There is no such model, or its `training.json` cannot be read.
    """
    path = find_checkpoint(vlm, download=download) / "training.json"
    if not path.is_file():
        return None
    try:
        record = json.loads(read_text(path))
        schedule = record["recipe"]["schedule"]
        return {
            "model": record["model"],
            "seed": schedule["seed"],
            "steps": schedule["steps"],
            "heldout": record["heldout"][-1],
        }
    except (ValueError, LookupError, TypeError) as error:
        raise OvssError(f"{path}: no record of a training can be read there ({error})") from error


def factorial(
    tuning: Tuning,
    spec: RunSpec,
    folder: str | os.PathLike[str],
    execution: Execution = SERIAL,
    *,
    tuning_root: str | os.PathLike[str] | None = None,
    storage: Path | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Choose by the reward, run all combinations, and store figures and counts per image.

    `heads` and `certainty` of what is stored are those of `ovsslib.evaluate.gradient`, `erased`
    that of `ovsslib.evaluate.erasure`, over the images of `spec`, the last two as means.

    Args:
        tuning: What the choice is made on: other images than those of `spec`.
        spec: Model and images that the figures are of.
        folder: See `ovsslib.evaluate.comparison.measure`.
        execution: The same.
        tuning_root: Folder of the images to choose on; None for the usual one.
        storage: As in `choose`.

    Returns:
        The JSON file and what it holds.

    Raises:
        OvssError: A name is unknown, a file is missing, or the folder cannot be written to.
    """
    chosen = choose(tuning, dataclasses.replace(execution, root=tuning_root), storage=storage)
    facts = {
        "chosen": {", ".join(key): config.to_dict() for key, config in chosen.items()},
        "tuning": {
            "dataset": tuning.spec.dataset,
            "split": tuning.spec.split,
            "limit": tuning.spec.limit,
            "labels": tuning.spec.filter,
            "plan": dataclasses.asdict(tuning.plan),
            "thresholds": list(tuning.thresholds),
            "blurs": list(tuning.blurs),
            "options": dataclasses.asdict(tuning.reward),
        },
        "training": training_of(spec.vlm, download=execution.download),
        **_looked_at(spec, chosen["gradcam", "one"], execution),
    }
    return measure(spec, lambda _: combinations(chosen), folder, execution, facts)


def _looked_at(spec: RunSpec, config: PnPConfig, execution: Execution) -> dict[str, Any]:
    """`heads`, `certainty` and `erased` of a record; no heads where no image has two classes."""
    (model,) = load_models({"": spec}, execution).values()
    data = load_dataset(spec.dataset, execution.root, spec.split)
    sure = by_certainty(model.matcher, data, config, limit=spec.limit)
    lost = erasure(model.matcher, data, config, limit=spec.limit)
    try:
        heads = layer_head_gradient(model.matcher, data, config, limit=spec.limit)
    except OvssError:
        heads = sure[:0]
    return {
        "heads": heads.to_dict("records"),
        "certainty": sure.groupby("prompt").mean(numeric_only=True).to_dict("index"),
        "erased": lost.groupby("kind").mean(numeric_only=True).to_dict("index"),
    }
