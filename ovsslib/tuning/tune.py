"""A whole tuning: maps once, the reward of candidates, the best one as a preset file.

No mask is read: which classes an image has comes from its captions or from recorded answers.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.spec import SERIAL, Execution, RunSpec
from ovsslib.filters import get_filter
from ovsslib.filters.base import ClassFilter
from ovsslib.filters.captions import Captions
from ovsslib.io.files import check_file, write_atomic
from ovsslib.io.json import digest, dumps
from ovsslib.io.provenance import provenance
from ovsslib.lookup import check_fields
from ovsslib.pnp.config import PnPConfig
from ovsslib.protocols.protocol import get_protocol
from ovsslib.tuning.collect import Images, LayerMaps, collect
from ovsslib.tuning.objective import Objective
from ovsslib.tuning.reward import Reward, RewardOptions
from ovsslib.tuning.search import BLURS, THRESHOLDS, Plan, Search, Shares, Space, Trial, search

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
        thresholds: That are searched.
        blurs: The same.

    Raises:
        OvssError: A list is empty, or a value out of range.
    """

    spec: RunSpec
    plan: Plan = field(default_factory=Plan)
    reward: RewardOptions = field(default_factory=RewardOptions)
    mean_head: bool = False
    thresholds: Shares = THRESHOLDS
    blurs: Shares = BLURS

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    def space(self, store: LayerMaps) -> Space:
        """What is searched for the model whose maps these are."""
        whole = Space.of(store.layers, store.heads, mean=self.mean_head)
        return dataclasses.replace(whole, thresholds=self.thresholds, blurs=self.blurs)


@dataclass(frozen=True)
class Opened:
    """What a tuning starts from.

    Attributes:
        model: The method with the settings to start from.
        images: Which images, and which classes are asked for.
        config: Those settings, with the protocol's background.
        store: Maps of all layers and heads.
    """

    model: PnPOVSS
    images: Images
    config: PnPConfig
    store: LayerMaps

    def objective(self, options: RewardOptions, execution: Execution) -> Objective:
        """The reward of candidates by some options.

        Raises:
            OvssError: The reward's model cannot be had.
        """
        dataset, how = self.images.dataset, execution
        reward = Reward(dataset.classes, options, device=how.device, download=how.download)
        return Objective(self.store, reward, dataset, self.config)

    def study_name(self, tuning: Tuning, space: Space) -> str:
        """A name under which a storage keeps trials: it stands for maps, reward and space."""
        record = {
            "maps": self.store.digest,
            "ids": self.store.ids,
            "labels": self.store.labels,
            "reward": dataclasses.asdict(tuning.reward),
            "space": space.to_dict(),
            "base": self.config.to_dict(),
        }
        data = self.images.dataset
        return f"{self.store.model} {data.name}-{data.split} {digest(record, 12)}"

    def facts(self, spec: RunSpec) -> dict[str, Any]:
        """What presets and studies note of it."""
        return {
            "vlm": self.store.model,
            "dataset": self.images.dataset.name,
            "split": self.images.dataset.split,
            "limit": spec.limit,
            "labels": spec.filter,
            "failed": self.store.failed,
        }


@dataclass(frozen=True)
class Tuned:
    """The result of a tuning.

    Attributes:
        config: The settings to start from, with the best candidate's.
        best: The best trial; its value is the share of an image's classes that win.
        search: All trials.
        record: The content of the preset file.
    """

    config: PnPConfig
    best: Trial
    search: Search
    record: dict[str, Any]


def tune(
    tuning: Tuning,
    execution: Execution = SERIAL,
    *,
    storage: Path | None = None,
) -> Tuned:
    """Search for the settings with the highest reward.

    Args:
        tuning: On what, and how.
        execution: Batch, device, data folder, progress.
        storage: SQLite file that keeps the trials; with it an interrupted search goes on, and
            several processes share one.

    Raises:
        OvssError: Something is unknown or missing, or the filter would read masks.
    """
    from ovsslib.evaluate.run import compute_place

    opened = open_tuning(tuning, execution)
    objective = opened.objective(tuning.reward, execution)
    space, store = tuning.space(opened.store), opened.store
    result = search(
        objective,
        space,
        tuning.plan,
        storage=storage,
        name=opened.study_name(tuning, space),
        progress=execution.progress,
    )
    best = result.best
    # The protocol sets the background, not the preset.
    background = opened.model.config.background
    config = opened.config.replace(**dataclasses.asdict(best.candidate), background=background)
    record = {
        "schema": SCHEMA,
        "config": config.to_dict(),
        "search": opened.facts(tuning.spec)
        | {
            "reward": best.value,
            "trials": len(result.trials) + len(result.dismissed),
            "dismissed": len(result.dismissed),
            "images": len(store),
            "pairs": sum(objective.pairs),
            "plan": dataclasses.asdict(tuning.plan),
            "space": space.to_dict(),
            "options": dataclasses.asdict(tuning.reward),
        },
        "provenance": provenance(**compute_place(opened.model.matcher)),
    }
    return Tuned(config, best, result, record)


def open_tuning(tuning: Tuning, execution: Execution) -> Opened:
    """Load the model and collect the maps.

    Args:
        tuning: On what.
        execution: Batch, device, data folder, progress.

    Raises:
        OvssError: As `tune`.
    """
    from ovsslib.evaluate.run import load_models

    spec = tuning.spec
    class_filter = _class_filter(spec)
    model = load_models({"tune": spec}, execution)["tune"]
    dataset = load_dataset(spec.dataset, execution.root, spec.split)
    protocol = get_protocol(spec.protocol).resolved(dataset.name)
    images = Images(dataset, protocol, class_filter, spec.limit)
    config = model.config.replace(background=protocol.background(dataset))
    store = collect(
        model.matcher, images, config, batch=execution.batch, progress=execution.progress
    )
    return Opened(model, images, config, store)


def _class_filter(spec: RunSpec) -> ClassFilter:
    """What says which classes an image has, without masks."""
    if spec.filter in ("oracle", "all"):
        why = "reads masks" if spec.filter == "oracle" else "names classes that are not there"
        raise OvssError(
            f"the filter {spec.filter!r} {why}; tune with captions, recorded:FILE or gpt4o"
        )
    if spec.filter != CAPTIONS:
        return get_filter(spec.filter, spec.filter_settings)
    if spec.filter_settings:
        raise OvssError("captions have no settings; leave --filter-set out")
    return Captions()


def save_preset(tuned: Tuned, path: str | os.PathLike[str]) -> Path:
    """Write the file that `ovss run --preset` takes.

    Raises:
        OvssError: Its name does not end in .json, or it cannot be written.
    """
    check_file(path, ".json")
    return write_atomic(path, dumps(tuned.record))
