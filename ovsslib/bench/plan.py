"""How long a data set takes on how many GPUs: arithmetic on measured costs, nothing else.

A GPU's worker computes one shard after another: salience on the GPU, and beside it refinement and
scoring on processor cores (`ovsslib.evaluate.resume`). The slower of the two sets the pace.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovsslib.datasets import ALIASES, LAYOUTS
from ovsslib.errors import OvssError
from ovsslib.evaluate.resume import SIZE
from ovsslib.lookup import pick

TABLE = ("voc21", "context60", "coco-object", "coco-stuff", "ade20k")
"""Data sets of the paper's table."""
VLM = "Salesforce/blip-itm-large-flickr"
"""The paper's model, as the hub calls it."""


@dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        flops: Floating-point operations of salience, all rounds; a multiply-add counts as two.
        read: Seconds that the model's process needs to read image and label.
        refine: Core seconds of refinement.
        score: Core seconds of counting.

    Raises:
        OvssError: A value is negative, or nothing costs anything.
    """

    flops: float
    read: float
    refine: float
    score: float

    def __post_init__(self) -> None:
        """Check the values."""
        if min(self.flops, self.read, self.refine, self.score) < 0:
            raise OvssError(f"costs must be 0 or more, got {self}")
        if not self.flops or not self.refine:
            raise OvssError("salience and refinement cost nothing? give what was measured")


@dataclass(frozen=True)
class Worker:
    """One GPU with the processor cores that refine beside it.

    Attributes:
        peak: FLOP/s of the GPU, by its data sheet.
        share: Which part of it salience reaches, above 0 and up to 1.
        cores: Of refinement, 1 or more.

    Raises:
        OvssError: A value is out of range.
    """

    peak: float
    share: float
    cores: int

    def __post_init__(self) -> None:
        """Check the values."""
        if self.peak <= 0 or not 0 < self.share <= 1 or self.cores < 1:
            raise OvssError(
                f"peak {self.peak:g}, share {self.share:g}, cores {self.cores}: the peak must be "
                "above 0, the share of it above 0 and at most 1, and there must be a core"
            )

    def salience(self, cost: Cost) -> float:
        """Images per second that the GPU's side does.

        Example:
            >>> Worker(100e12, 0.5, 8).salience(Cost(1e12, 0.0, 1.0, 0.0))
            50.0
        """
        return 1 / (cost.flops / (self.peak * self.share) + cost.read)

    def refinement(self, cost: Cost) -> float:
        """Images per second that the cores do.

        Example:
            >>> Worker(100e12, 0.5, 8).refinement(Cost(1e12, 0.0, 0.75, 0.25))
            8.0
        """
        return self.cores / (cost.refine + cost.score)

    def cores_to_keep_up(self, cost: Cost) -> int:
        """So many cores refine as fast as the GPU finds maps.

        Example:
            >>> Worker(100e12, 0.5, 8).cores_to_keep_up(Cost(1e12, 0.0, 0.75, 0.25))
            50
        """
        return math.ceil(self.salience(cost) * (cost.refine + cost.score))


@dataclass(frozen=True)
class Fixed:
    """What a run costs besides its images, in seconds.

    Attributes:
        run: Once: workers start, and their refinement processes.
        shard: Of each shard on its worker: its last image is refined, and nothing beside it.
        scheduler: Of each shard on the one scheduler.
    """

    run: float = 0.0
    shard: float = 0.0
    scheduler: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A data set on some GPUs.

    Attributes:
        gpus: Workers.
        size: Pictures of a shard.
        shards: How many.
        seconds: From start to end.
        busy: Share of the time in which GPUs compute, 0..1.
        even: Images per worker on average over those of the worker that has most, 0..1.
        demand: Shards per second that the scheduler sees.
        load: Share of what the scheduler can do, 0..1.
    """

    gpus: int
    size: int
    shards: int
    seconds: float
    busy: float
    even: float
    demand: float
    load: float


def plan(
    images: int, gpus: int, cost: Cost, worker: Worker, fixed: Fixed = Fixed(), size: int = SIZE
) -> Plan:
    """Time and load of a run; workers are alike, and a last, smaller shard counts as whole.

    Args:
        images: Images of the data set.
        gpus: Workers.
        cost: Of an image.
        worker: What one is.
        fixed: What else takes time.
        size: Pictures of a shard.

    Raises:
        OvssError: A number is below 1.

    Example:
        >>> half = plan(1000, 2, Cost(1e12, 0, 1, 0), Worker(1e14, 0.5, 10), size=100)
        >>> half.shards, half.seconds, half.busy
        (10, 50.0, 0.2)
    """
    if min(images, gpus, size) < 1:
        raise OvssError(f"images {images}, gpus {gpus}, size {size}: each must be 1 or more")
    size = min(size, images)
    shards = math.ceil(images / size)
    most = math.ceil(shards / gpus)
    each = max(size / worker.salience(cost), size / worker.refinement(cost)) + fixed.shard
    # One scheduler serves all workers: it may be what they wait for.
    work = max(most * (each + fixed.scheduler), shards * fixed.scheduler)
    seconds = fixed.run + work
    return Plan(
        gpus=gpus,
        size=size,
        shards=shards,
        seconds=seconds,
        busy=images * cost.flops / (worker.peak * worker.share) / (gpus * seconds),
        even=shards / (most * gpus),
        demand=shards / work,
        load=shards * fixed.scheduler / work,
    )


def best(
    images: int, gpus: int, cost: Cost, worker: Worker, fixed: Fixed, sizes: Iterable[int]
) -> Plan:
    """The quickest of several shard sizes; of equally quick ones the largest.

    Raises:
        OvssError: There is no size, or a number is below 1.
    """
    found = [plan(images, gpus, cost, worker, fixed, size) for size in sizes]
    if not found:
        raise OvssError("give a shard size or more to choose from")
    return min(found, key=lambda one: (one.seconds, -one.size))


def refine_seconds(
    rows: Sequence[Mapping[str, Any]], classes: float, size: str = "500x375"
) -> float:
    """Core seconds of refinement for a number of classes, out of `ovss bench refine`'s rows.

    Straight lines between the measured numbers, and beyond them the nearest line's continuation.

    Args:
        rows: Of the results file: `size`, `classes`, `total` (milliseconds).
        classes: Per image, background not counted.
        size: Of the images.

    Raises:
        OvssError: Fewer than two numbers of classes were measured at this size.

    Example:
        >>> rows = [{"size": "9x9", "classes": k, "total": 100.0 * k} for k in (1, 5, 20)]
        >>> [refine_seconds(rows, k, "9x9") for k in (5, 10, 171)]
        [0.5, 1.0, 17.1]
    """
    known = sorted((row["classes"], row["total"]) for row in rows if row["size"] == size)
    if len(known) < 2:
        raise OvssError(
            f"refinement at {size} was measured for {len(known)} numbers of classes; measure two: "
            f"ovss bench refine --size {size} --classes 1,20"
        )
    right = next((i for i, (count, _) in enumerate(known) if count >= classes), len(known) - 1)
    (low, before), (high, after) = known[max(right, 1) - 1 : max(right, 1) + 1]
    return (before + (after - before) * (classes - low) / (high - low)) / 1000


def pictures(dataset: str, split: str = "val") -> int:
    """Number of pictures of a data set's split, by its authors; the largest if they differ.

    Raises:
        OvssError: The data set or the split is unknown.

    Example:
        >>> pictures("coco-stuff"), pictures("coco-stuff", "train")
        (5000, 118287)
    """
    layout = pick("data set", ALIASES.get(dataset, dataset), LAYOUTS)
    return max(pick("split", split, dict(layout.expected)))


def command(dataset: str, *, workers: int = 0, refine: int = 0, where: str = "") -> str:
    """How to run the paper's method on a data set of its table, with recorded answers of GPT-4o.

    Args:
        dataset: Its name.
        workers: Processes or SLURM jobs, one a GPU; 0 for the calling process alone.
        refine: Refinement processes of each.
        where: Further options, such as `--dask-slurm slurm.yml`.

    Example:
        >>> command("voc21", workers=8).partition("--workers")[1:]
        ('--workers', ' 8')
    """
    words = [
        f"ovss run --dataset {dataset} --protocol pnp --filter recorded:{dataset}.jsonl",
        f"--vlm {VLM} --dtype bfloat16",
        where,
        f"--workers {workers}" if workers else "",
        f"--refine-workers {refine}" if refine else "",
    ]
    return " ".join(word for word in words if word)
