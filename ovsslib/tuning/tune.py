"""A whole tuning: maps once, the reward of candidates, the best one as a preset file.

No mask is read: which classes an image has comes from its captions or from recorded answers.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovsslib.errors import OvssError
from ovsslib.evaluate.spec import SERIAL, Execution, RunSpec
from ovsslib.evaluate.task import Task
from ovsslib.filters import get_filter
from ovsslib.filters.captions import image_labels
from ovsslib.io.files import check_suffix, write_atomic
from ovsslib.io.json import digest, dumps
from ovsslib.io.provenance import provenance
from ovsslib.pnp.config import PnPConfig
from ovsslib.tuning.collect import LayerMaps, collect
from ovsslib.tuning.objective import Objective
from ovsslib.tuning.race import Rules
from ovsslib.tuning.reward import Reward, RewardOptions
from ovsslib.tuning.search import BLURS, THRESHOLDS, Plan, Search, Space, Trial, search

if TYPE_CHECKING:
    from ovsslib.pnp.pipeline import PnPOVSS

SCHEMA = 1
CAPTIONS = "captions"
"""The filter's name that stands for an image's captions."""


@dataclass(frozen=True)
class Tuning:
    """What to tune on, and how.

    Attributes:
        spec: Model, data set, split, limit, protocol, settings to start from; its filter says which
            classes an image has, `"captions"` or a filter that reads no mask.
        plan: The search.
        reward: Options of the reward.
        mean_head: Whether the mean over all heads is searched beside single heads.
        several_heads: Most heads of a layer whose mean is studied beside single heads
            (`ovsslib.tuning.study.judge`); a search takes 1: PnP-OVSS reads one head or all of
            them.
        thresholds: That are searched.
        blurs: The same.
    """

    spec: RunSpec
    plan: Plan = field(default_factory=Plan)
    reward: RewardOptions = field(default_factory=RewardOptions)
    mean_head: bool = False
    several_heads: int = 1
    thresholds: tuple[float, ...] = THRESHOLDS
    blurs: tuple[float, ...] = BLURS

    def space(self, store: LayerMaps) -> Space:
        """What is searched for the model whose maps these are."""
        whole = Space.of(store.layers, store.heads, mean=self.mean_head, several=self.several_heads)
        return dataclasses.replace(whole, thresholds=self.thresholds, blurs=self.blurs)


@dataclass(frozen=True)
class Tuned:
    """What came out.

    Attributes:
        config: The settings to start from, with the best candidate's.
        best: The best trial; its value is the reward for each class of an image (the paper's: the
            share of classes that win).
        found: All trials.
        record: What a preset file holds.
    """

    config: PnPConfig
    best: Trial
    found: Search
    record: dict[str, Any]


def tune(
    tuning: Tuning,
    execution: Execution = SERIAL,
    *,
    storage: Path | None = None,
    maps: Path | None = None,
) -> Tuned:
    """Search for the settings with the highest reward.

    Args:
        tuning: On what, and how.
        execution: Batch, device, data folder, progress.
        storage: SQLite file that keeps the trials; with it an interrupted search goes on, and
            several processes share one.
        maps: Folder that keeps the maps of all layers and heads; None for a temporary one.

    Raises:
        OvssError: Something is unknown or missing, or the filter would read masks.
    """
    from ovsslib.evaluate.run import compute_place

    spec = tuning.spec
    if tuning.several_heads > 1:
        raise OvssError("PnP-OVSS reads one head or all; sets of heads can be studied (--study)")
    model, work, base, store = opened(tuning, execution, maps)
    reward = Reward(
        work.dataset.classes,
        tuning.reward,
        device=execution.device,
        download=execution.download,
    )
    objective = Objective(store, reward, work, base)
    pairs = [len(objective.labels(picture)) for picture in range(len(store))]
    racing = tuning.plan.race
    space = tuning.space(store)
    found = search(
        objective.values,
        space,
        tuning.plan,
        storage=storage,
        name=_name(tuning, store, space, base),
        progress=execution.progress,
        rules=Rules(objective.per_image, pairs, tuning.plan.seed) if racing else None,
    )
    best = found.best
    fields = dataclasses.asdict(best.candidate)
    # The protocol sets the background, not the preset.
    config = base.replace(**fields, background=model.config.background)
    record = {
        "schema": SCHEMA,
        "config": config.to_dict(),
        "found": {
            "reward": best.value,
            "trials": len(found.trials) + len(found.dismissed),
            "dismissed": len(found.dismissed),
            "pictures": len(store),
            "pairs": sum(pairs),
            "failed": store.failed,
            "vlm": store.model,
            "dataset": work.dataset.name,
            "split": work.dataset.split,
            "limit": spec.limit,
            "labels": spec.filter,
            "plan": dataclasses.asdict(tuning.plan),
            "space": space.to_dict(),
            "options": dataclasses.asdict(tuning.reward),
        },
        "provenance": provenance(**compute_place(model.matcher)),
    }
    return Tuned(config, best, found, record)


def opened(
    tuning: Tuning, execution: Execution, maps: Path | None = None
) -> tuple[PnPOVSS, Task, PnPConfig, LayerMaps]:
    """What a tuning starts from: model, task, settings with the protocol's background, maps.

    Args:
        tuning: On what.
        execution: Batch, device, data folder, progress.
        maps: Folder that keeps the maps of all layers and heads; None for a temporary one.

    Raises:
        OvssError: As `tune`.
    """
    from ovsslib.evaluate.run import load_models, open_task

    spec = tuning.spec
    if spec.filter in ("oracle", "all"):
        why = "reads masks" if spec.filter == "oracle" else "names classes that are not there"
        raise OvssError(
            f"the filter {spec.filter!r} {why}; tune with captions, recorded:FILE or gpt4o"
        )
    model = load_models({"tune": spec}, execution)["tune"]
    # The task's own filter is not asked; "all" reads nothing.
    work = open_task(dataclasses.replace(spec, filter="all", filter_settings={}), execution)
    base: PnPConfig = model.config.replace(background=work.protocol.background(work.dataset))
    store = collect(
        model.matcher,
        work,
        base,
        labels=_labels(spec, work),
        folder=maps,
        batch=execution.batch,
        progress=execution.progress,
    )
    return model, work, base, store


def _labels(spec: RunSpec, work: Task) -> Any:
    """Image name -> labels, from captions or from the filter that the user names."""
    if spec.filter == CAPTIONS and spec.filter_settings:
        raise OvssError("captions have no settings; leave --filter-set out")
    if spec.filter == CAPTIONS:
        return lambda name: image_labels(work.dataset, name)
    class_filter = get_filter(spec.filter, spec.filter_settings)
    class_filter.prepare(work.dataset, work.ids)
    return lambda name: class_filter(work.dataset, name)


def _name(tuning: Tuning, store: LayerMaps, space: Space, base: PnPConfig) -> str:
    """The study's name: it stands for maps, reward and space."""
    record = {
        "maps": store.digest,
        "ids": store.ids,
        "labels": store.labels,
        "reward": dataclasses.asdict(tuning.reward),
        "space": space.to_dict(),
        "base": base.to_dict(),
    }
    return f"{store.model} {tuning.spec.dataset}-{tuning.spec.split} {digest(record, 12)}"


def save_preset(tuned: Tuned, path: str | os.PathLike[str]) -> Path:
    """Write the file that `ovss run --preset` takes.

    Raises:
        OvssError: Its name does not end in .json, or it cannot be written.
    """
    check_suffix(path, ".json")
    return write_atomic(path, dumps(tuned.record))
