"""What stored maps save a search: candidates per minute against running the pipeline for each.

Four ways, in one run, on the same images with the same reward. `stored`: maps of all layers
and heads from one pass per image, then candidates. `race`: the same, but candidates that fall
far behind are not judged to the end. `fair`: for each candidate a pass with its layer and head,
and only what its masks need. `usual`: for each candidate the whole pipeline with the preset's
rounds and CRF, as one would without a search in mind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from ovsslib.bench.random_models import SHAPES, open_model
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters.captions import Captions
from ovsslib.io.provenance import provenance
from ovsslib.lookup import Count, Natural, Threads, check_types
from ovsslib.pnp.pipeline import PnPOVSS, build
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.result import Maps
from ovsslib.protocols.protocol import get_protocol
from ovsslib.tuning.candidates import Candidate, masks_of
from ovsslib.tuning.collect import Images, LayerMaps, collect
from ovsslib.tuning.objective import Objective
from ovsslib.tuning.race import Lap, race
from ovsslib.tuning.reward import Reward, RewardOptions
from ovsslib.tuning.search import TRIALS, Space, drawn

SPLIT = "tune"
ALIKE = 0.99
"""Least share of rewards, of an image by a candidate, that must be the same on both ways."""

Judged = TypeVar("Judged")


class _TimedReward(Reward):
    """A reward that knows how long it took."""

    seconds = 0.0

    def wins_by_scope(self, *args: Any, **more: Any) -> np.ndarray:
        """As `Reward.wins_by_scope`."""
        start = time.perf_counter()
        wins = super().wins_by_scope(*args, **more)
        self.seconds += time.perf_counter() - start
        return wins


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
        in candidates per minute, `clip`, the share of the time that the reward takes, and
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

    counts = {"images": images, "candidates": candidates, "batch": batch}
    check_types(counts, dict.fromkeys(counts, Count))
    given = {"fair": fair, "usual": usual, "threads": threads}
    check_types(given, {"fair": Count | None, "usual": Natural, "threads": Threads | None})
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        model = build(open_model(vlm, "float32", device) if vlm in SHAPES else vlm, device=device)
        dataset = load_dataset("diorama", split=split, root=root)
        _collect(model, dataset, 1, batch)  # warms up
        start = time.perf_counter()
        store = _collect(model, dataset, images, batch)
        collected = time.perf_counter() - start
        reward = _TimedReward(dataset.classes, options, device=device)
        chosen = drawn(Space.of(store.layers, store.heads, mean=mean), candidates, 0)
        objective = Objective(store, reward, dataset, model.config)
        objective.values(chosen[:1])  # warms up, and prepares the images
        read = [dataset.image(name) for name in store.ids]
        stored, first = _clocked(reward, chosen, objective.per_image)
        # Another objective: nothing that the first one keeps may help the race.
        racing = Objective(store, reward, dataset, model.config)
        racing.values(chosen[:1])
        raced, lap = _clocked(reward, chosen, partial(_last_lap, racing))
        rerun = partial(_rerun, model, objective, read, batch)
        plain, second = _clocked(reward, chosen[:fair], partial(rerun, whole=False))
        rows = [{"way": "stored", **stored}, {"way": "race", **raced}, {"way": "fair", **plain}]
        if usual:
            whole, _ = _clocked(reward, chosen[:usual], partial(rerun, whole=True))
            rows.append({"way": "usual", **whole})
        used = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    count = sum(map(len, store.labels))
    winner = int(lap.left[lap.values[lap.left].argmax()]) == int(first.sum(1).argmax())
    first = first[: len(second)]
    same = float((first == second).mean())
    largest = float(np.abs(first.sum(1) - second.sum(1)).max() / count)
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
        "with_collect": plain["seconds"] / (stored["seconds"] + collected / len(chosen)),
        "judged": lap.evaluations / (len(chosen) * len(store)),
        "agreement": {
            "same": same,
            "largest": largest,
            "agree": None if vlm in SHAPES else same >= ALIKE,
            "winner": winner,
        },
        "provenance": provenance(**compute_place(model.matcher)),
    }


def _collect(model: PnPOVSS, dataset: Any, limit: int, batch: int) -> LayerMaps:
    protocol = get_protocol("pnp-fixed").resolved(dataset.name)
    images = Images(dataset, protocol, Captions(), limit)
    store = collect(model.matcher, images, model.config, batch=batch)
    if store.failed:
        reason = next(iter(store.failed.values()))
        raise OvssError(f"{len(store.failed)} images cannot be read: {reason}")
    return store


def _clocked(
    reward: _TimedReward,
    candidates: Sequence[Candidate],
    judge: Callable[[Sequence[Candidate]], Judged],
) -> tuple[dict[str, Any], Judged]:
    """Times of judging candidates, and what `judge` returns."""
    reward.seconds, start = 0.0, time.perf_counter()
    judged = judge(candidates)
    seconds, count = time.perf_counter() - start, len(candidates)
    row = {
        "candidates": count,
        "seconds": seconds / count,
        "rate": 60 * count / seconds,
        "clip": reward.seconds / seconds,
    }
    return row, judged


def _last_lap(objective: Objective, candidates: Sequence[Candidate]) -> Lap:
    """How a race of candidates ends."""
    *_, last = race(objective, candidates)
    return last


def _rerun(
    model: PnPOVSS,
    objective: Objective,
    images: Sequence[Image.Image],
    batch: int,
    candidates: Sequence[Candidate],
    *,
    whole: bool,
) -> np.ndarray:
    """Rewards (C, B) by a run of the model for each candidate; `whole` is the usual way.

    Images are read, and prepared for the reward, before the clock runs.
    """
    store, reward, base = objective.store, objective.reward, model.config
    rewards = np.zeros((len(candidates), len(store)))
    for row, candidate in enumerate(candidates):
        config = base.replace(**vars(candidate)) if whole else candidate.config(base)
        method = PnPOVSS(model.matcher, config)
        for start in range(0, len(store), batch):
            part = slice(start, start + batch)
            results = method.maps(images[part], store.classes[part])
            for index, maps in enumerate(results, start=start):
                if whole:
                    masks = _small_masks(refine_maps(maps, config).labels, maps, reward.size)
                else:
                    masks = masks_of(maps.maps, [candidate], reward.size, base.background, base)
                wins = reward.wins(objective.prepared(index), masks, store.labels[index])
                rewards[row, index] = wins.sum()
    return rewards


def _small_masks(labels: np.ndarray, maps: Maps, size: int) -> torch.Tensor:
    """Masks (1, K, S, S) of labels (H, W)."""
    square = Image.fromarray(labels).resize((size, size), Image.Resampling.NEAREST)
    kinds = np.arange(len(maps.classes))[None, :, None, None]
    return torch.from_numpy(np.asarray(square) == kinds)
