"""What stored maps save a search: candidates per minute against running the pipeline for each.

Four ways, in one run, on the same images with the same reward. `stored`: maps of all layers
and heads from one pass per image, then candidates. `race`: the same, but candidates that fall
far behind are not judged to the end. `fair`: for each candidate a pass with its layer and head,
and only what its masks need. `usual`: for each candidate the whole pipeline with the preset's
rounds and CRF, as one would without a search in mind.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from ovsslib.bench.random_models import SHAPES, open_model
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.task import Task, make_task
from ovsslib.filters.captions import image_labels
from ovsslib.io.provenance import provenance
from ovsslib.pnp.pipeline import PnPOVSS, build
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.result import Maps
from ovsslib.tuning.candidates import Candidate, masks
from ovsslib.tuning.collect import LayerMaps, collect
from ovsslib.tuning.objective import Objective
from ovsslib.tuning.race import Lap, Rules, race
from ovsslib.tuning.reward import Reward, RewardOptions
from ovsslib.tuning.search import TRIALS, Space, drawn

SPLIT = "tune"
ALIKE = 0.99
"""Least share of rewards, of an image by a candidate, that must be the same on both ways."""


Found = TypeVar("Found")


class _Timed(Reward):
    """A reward that knows how long it took."""

    seconds = 0.0

    def wins_by_scope(self, *args: Any, **more: Any) -> np.ndarray:
        """As `Reward.wins_by_scope`."""
        start = time.perf_counter()
        wins = super().wins_by_scope(*args, **more)
        self.seconds += time.perf_counter() - start
        return wins


@dataclasses.dataclass(frozen=True)
class _Setting:
    """What all ways share: images are read, and prepared for the reward, before the clock."""

    model: PnPOVSS
    store: LayerMaps
    reward: _Timed
    pictures: list[Image.Image]
    prepared: list[torch.Tensor]
    batch: int


def tuning(  # noqa: PLR0913 - what is measured
    vlm: str = "micro-blip",
    images: int = 100,
    candidates: int = TRIALS,
    fair: int | None = None,
    usual: int = 4,
    *,
    split: str = SPLIT,
    root: Path | None = None,
    options: RewardOptions | None = None,
    mean: bool = False,
    batch: int = 8,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Candidates per minute of the four ways, and that they agree.

    Args:
        vlm: Model: a name, a folder, a hub id, or one of `ovsslib.bench.random_models.SHAPES`.
        images: Images of Diorama; their classes are those in their captions.
        candidates: Of a random search over Table 2's space, for `stored` and `race`.
        fair: The first so many of them for `fair`; None for all.
        usual: The first so many of them for `usual`; 0 leaves that way out. Take several: one
            of a layer with empty maps costs less than others.
        split: Which of Diorama's splits.
        root: Its folder; None for the shipped one.
        options: Of the reward; None for the paper's.
        mean: Whether the mean over heads is a candidate too.
        batch: Images in one pass of the model.
        device: Of model and reward; None takes a GPU where there is one.
        threads: Threads of torch; None leaves them as they are.

    Returns:
        `settings`; `collect`, seconds of the one pass over all images, and `bytes` of its
        maps; `rows`, one per way: `way`, `candidates`, `seconds` per candidate, `rate`
        in candidates per minute, `clip`, the share of the time that the reward's model takes, and
        `ratio` of its seconds to those of `stored`; `with_collect`, the ratio of `fair` if
        the one pass counts as well; `judged`, the share of candidates times images that the race
        judged; `agreement`: `same`, the share of rewards (an image's by a candidate) that are
        equal in `stored` and `fair`, `largest` difference of a candidate's value, `agree`,
        whether that is enough (None for random weights: their maps of all classes are so alike that
        the rounding of stored maps decides between them), and `winner`, whether the race ends
        with the best candidate; `provenance`.

    Raises:
        OvssError: The model or images cannot be had, or there is no candidate.
    """
    from ovsslib.evaluate.run import compute_place

    if candidates < 1:
        raise OvssError(f"candidates must be 1 or more, got {candidates}")
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        known = open_model(vlm, "float32", device) if vlm in SHAPES else vlm
        model = build(known, device=device)
        work = make_task(load_dataset("diorama", split=split, root=root), limit=images)
        _store(model, dataclasses.replace(work, limit=1), batch)  # warms up
        start = time.perf_counter()
        store = _store(model, work, batch)
        collected = time.perf_counter() - start
        reward = _Timed(work.dataset.classes, options, device=device)
        pictures = [work.dataset.image(name) for name in store.ids]
        prepared = [reward.prepare(picture) for picture in pictures]
        setting = _Setting(model, store, reward, pictures, prepared, batch)
        chosen = drawn(Space.of(store.layers, store.heads, mean=mean), candidates, 0)
        objective = Objective(store, reward, work, model.config)
        objective.values(chosen[:1])  # warms up, and prepares the images
        stored, first = _clocked(reward, chosen, objective.per_image)
        # Another objective: nothing that the first one keeps may help the race.
        runner = Objective(store, reward, work, model.config)
        runner.values(chosen[:1])
        raced, lap = _clocked(reward, chosen, lambda few: _race(runner, few))
        sample = chosen[:fair]
        plain, second = _clocked(reward, sample, lambda few: _rerun(setting, few, whole=False))
        rows = [{"way": "stored", **stored}, {"way": "race", **raced}, {"way": "fair", **plain}]
        if usual:
            few = chosen[:usual]
            whole, _ = _clocked(reward, few, lambda few: _rerun(setting, few, whole=True))
            rows.append({"way": "usual", **whole})
        used = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    count = sum(map(len, store.labels))
    winner = int(lap.left[lap.values[lap.left].argmax()]) == int(first.sum(1).argmax())
    looks = lap.looks / (len(chosen) * len(store))
    first = first[: len(second)]
    same = float((first == second).mean())
    agree = None if vlm in SHAPES else same >= ALIKE
    largest = float(np.abs(first.sum(1) - second.sum(1)).max() / count)
    both = stored["seconds"] + collected / len(chosen)
    return {
        "kind": "bench-tuning",
        "settings": {
            "vlm": model.matcher.name,
            "reward": reward.options.model,
            "options": reward.options.label,
            "mean": mean,
            "size": reward.size,
            "dataset": "diorama",
            "split": split,
            "images": len(store),
            "labels": count,
            "candidates": len(chosen),
            "batch": batch,
            "threads": used,
        },
        "collect": collected,
        "bytes": store.nbytes,
        "rows": [row | {"ratio": row["seconds"] / stored["seconds"]} for row in rows],
        "with_collect": plain["seconds"] / both,
        "judged": looks,
        "agreement": {"same": same, "largest": largest, "agree": agree, "winner": winner},
        "provenance": provenance(**compute_place(model.matcher)),
    }


def _store(model: PnPOVSS, work: Task, batch: int) -> LayerMaps:
    store = collect(
        model.matcher,
        work,
        model.config,
        labels=lambda name: image_labels(work.dataset, name),
        batch=batch,
    )
    if store.failed:
        reason = next(iter(store.failed.values()))
        raise OvssError(f"{len(store.failed)} images cannot be read: {reason}")
    return store


def _clocked(
    reward: _Timed,
    candidates: Sequence[Candidate],
    judge: Callable[[Sequence[Candidate]], Found],
) -> tuple[dict[str, Any], Found]:
    """Times of judging candidates, and what comes of it."""
    reward.seconds, start = 0.0, time.perf_counter()
    found = judge(candidates)
    spent = time.perf_counter() - start
    count = len(candidates)
    row = {
        "candidates": count,
        "seconds": spent / count,
        "rate": 60 * count / spent,
        "clip": reward.seconds / spent,
    }
    return row, found


def _race(objective: Objective, candidates: Sequence[Candidate]) -> Lap:
    """How a race of candidates ends."""
    pairs = [len(objective.labels(image)) for image in range(len(objective.store))]
    *_, last = race(Rules(objective.per_image, pairs), candidates)
    return last


def _rerun(setting: _Setting, candidates: Sequence[Candidate], *, whole: bool) -> np.ndarray:
    """Rewards (C, B) by a run of the model for each candidate; `whole` is the usual way."""
    store, reward, base = setting.store, setting.reward, setting.model.config
    found = np.zeros((len(candidates), len(store)))
    for row, one in enumerate(candidates):
        config = base.replace(**vars(one)) if whole else one.config(base)
        model = PnPOVSS(setting.model.matcher, config)
        for start in range(0, len(store), setting.batch):
            part = slice(start, start + setting.batch)
            pictures, classes = setting.pictures[part], store.classes[part]
            for index, maps in enumerate(model.maps(pictures, classes), start=start):
                if whole:
                    seen = _small_masks(refine_maps(maps, config).labels, maps, reward.size)
                else:
                    seen = masks(maps.maps, one, reward.size, base.background, base)
                pixels, labels = setting.prepared[index], store.labels[index]
                found[row, index] = reward.wins(pixels, seen[None], labels).sum()
    return found


def _small_masks(labels: np.ndarray, maps: Maps, size: int) -> torch.Tensor:
    """Masks (K, S, S) of labels (H, W)."""
    square = Image.fromarray(labels).resize((size, size), Image.Resampling.NEAREST)
    return torch.from_numpy(np.asarray(square) == np.arange(len(maps.classes))[:, None, None])
