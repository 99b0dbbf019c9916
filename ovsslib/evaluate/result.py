"""Results on disk: one JSON per run, and Parquet tables per class and per image.

The per-image table holds integers only, so that any figure, interval or paired difference can be
computed again from the file (`load_counts`).
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.io.files import write_atomic
from ovsslib.io.json import digest, dumps, plain
from ovsslib.metrics import iou as metrics
from ovsslib.metrics.counts import COUNT_NAMES, Counts
from ovsslib.pnp.presets import PRESETS

SCHEMA = 1


@dataclass(frozen=True)
class RunResult:
    """One method on one data set under one protocol.

    Attributes:
        method: Name of the method.
        vlm: Name of the vision-language model (no path).
        dataset: Name of the data set.
        split: Name of the split.
        protocol: `Protocol.to_dict`.
        filter: Name of the class filter, without settings.
        config: The method's settings.
        config_hash: 10 hex digits of them.
        classes: C names.
        things: Labels of countable objects.
        scored: Labels of the headline mIoU.
        ids: Of the B images that were scored.
        counts: Their pixels, (B, C + 1) each, background first.
        failed: Image -> reason, for images that could not be read.
        seconds: Wall-clock time of the run.
        provenance: `ovsslib.io.provenance.provenance`.
        limit: The first so many images of the split, None for all.
        filter_settings: Of the class filter, as `ovsslib.filters.describe` tells them.
        boundary: Pixels near contours (`ovsslib.metrics.boundary`), shaped as `counts`; None in
            results that are older than this field.
        confusion: (C + 1, C + 1) pixels of all images, row = true label; None likewise.
        stages: Stage -> seconds, over all processes.
        allowed_bad: How many unreadable images were accepted beforehand.
        expected: How many images there should be; None in results that are older than this field.
    """

    method: str
    vlm: str
    dataset: str
    split: str
    protocol: dict[str, Any]
    filter: str
    config: dict[str, Any]
    config_hash: str
    classes: tuple[str, ...]
    things: frozenset[int]
    scored: tuple[int, ...]
    ids: tuple[str, ...]
    counts: Counts
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = math.nan
    provenance: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    filter_settings: dict[str, Any] = field(default_factory=dict)
    boundary: Counts | None = None
    confusion: np.ndarray | None = None
    stages: dict[str, float] = field(default_factory=dict)
    allowed_bad: int = 0
    expected: int | None = None

    def checked(self) -> RunResult:
        """The result itself.

        Raises:
            OvssError: No image could be read.
        """
        if not self.ids:
            reason = next(iter(self.failed.values()), "there is none")
            raise OvssError(f"no image of {self.dataset} could be read: {reason}")
        return self

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Labels averaged by `miou`, `miou_things` and `miou_stuff`."""
        stuff = set(range(1, len(self.classes) + 1)) - self.things
        groups = {"miou": self.scored, "miou_things": tuple(sorted(self.things))}
        return groups | ({"miou_stuff": tuple(sorted(stuff))} if stuff else {})

    @property
    def name(self) -> str:
        """File name stem: readable, and different for different runs."""
        what = [self.method, self.vlm, self.config_hash, self.protocol, self.filter]
        # Filters without settings leave no trace: names of older results stay as they are.
        settings = [self.filter_settings] if self.filter_settings else []
        short = digest([*what, self.dataset, self.split, self.limit, *settings], 10)
        vlm = self.vlm.replace("/", "-")
        return f"{self.method}_{vlm}_{self.dataset}-{self.split}_{self.filter}_{short}"


def figures(result: RunResult, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Every figure of a run, 0..1.

    Args:
        result: The run.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `miou`, `miou_things`, `miou_stuff` (each `{"value", "low", "high"}`, 95 %),
        `boundary_miou` (over the same labels as `miou`, where boundaries were counted),
        `iou_background`, `pixel_accuracy`, and `classes`: name -> `{"iou", "precision",
        "recall"}` (and `"boundary_iou"`), None where a class does not occur, or background is void.
    """
    counts, absent = result.counts, result.protocol["absent"]
    out: dict[str, Any] = {
        name: metrics.interval(
            counts, labels, absent=absent, resamples=resamples, seed=seed
        ).to_dict()
        for name, labels in result.groups.items()
    }
    columns = {
        "iou": _iou(result),
        "precision": metrics.precision(counts),
        "recall": metrics.recall(counts),
    }
    if result.boundary is not None:
        columns["boundary_iou"] = metrics.iou(result.boundary, absent=absent)
        out["boundary_miou"] = metrics.mean_iou(result.boundary, result.scored, absent=absent)
    out["iou_background"] = float(columns["iou"][0])
    out["pixel_accuracy"] = metrics.pixel_accuracy(counts)
    out["classes"] = {
        name: {key: float(column[k]) for key, column in columns.items()}
        for k, name in enumerate(result.classes, start=1)
    }
    return plain(out)


def _iou(result: RunResult) -> np.ndarray:
    """(C + 1,) IoU; NaN for a background that neither counts nor occurs: there it is void."""
    values = metrics.iou(result.counts, absent=result.protocol["absent"])
    if 0 not in result.scored and not result.counts.truth[:, 0].any():
        values[0] = math.nan
    return values


def figure(figures_: dict[str, Any], name: str) -> float | None:
    """One figure by name: `"miou"`, `"pixel_accuracy"`, `"iou/house"`, `"recall/sky"`….

    Args:
        figures_: What `figures` returned, or the `metrics` of a results file.
        name: The figure.

    Returns:
        Its value, None where it is not defined (a class that does not occur).

    Raises:
        OvssError: There is no such figure.

    Example:
        >>> figure({"miou": {"value": 0.5, "low": 0.4, "high": 0.6}}, "miou")
        0.5
    """
    kind, _, of = name.partition("/")
    value = (
        figures_.get("classes", {}).get(of, {}).get(kind, ...) if of else figures_.get(name, ...)
    )
    if value is ... or name == "classes":
        known = [key for key in figures_ if key != "classes"] + ["iou/<class>", "recall/<class>"]
        raise OvssError(f"no figure is called {name!r}; there are {', '.join(known)}")
    return value["value"] if isinstance(value, dict) else value


def to_dict(result: RunResult) -> dict[str, Any]:
    """What a run's JSON file holds (see `save`)."""
    keep = ("method", "vlm", "dataset", "split", "filter", "limit", "config_hash")
    return {
        "schema": SCHEMA,
        "name": result.name,
        **{key: getattr(result, key) for key in keep},
        **({"filter_settings": result.filter_settings} if result.filter_settings else {}),
        "protocol": result.protocol,
        "config": result.config,
        "metrics": figures(result),
        "images": len(result.ids),
        **({"images_expected": result.expected} if result.expected is not None else {}),
        "failed": result.failed,
        **({"allowed_bad": result.allowed_bad} if result.allowed_bad else {}),
        "stages": {stage: round(seconds, 3) for stage, seconds in result.stages.items()},
        "seconds": round(result.seconds, 3) if math.isfinite(result.seconds) else None,
        "provenance": result.provenance,
    }


def by_preset(record: Mapping[str, Any]) -> bool:
    """Whether a run used its method as it is: of PnP-OVSS, with the model's preset.

    Args:
        record: What `to_dict` gives.
    """
    if record["method"] != "pnp-ovss":
        return True
    preset = PRESETS.get(record["vlm"])
    # The protocol sets the background, not the preset.
    return preset is not None and (
        {**record["config"], "background": preset.background} == preset.to_dict()
    )


def save(result: RunResult, folder: str | os.PathLike[str]) -> Path:
    """Write `<name>.json` and `<name>.<table>.parquet`: classes, images, confusion.

    Args:
        result: The run.
        folder: Made when missing; files of the same run are replaced, each whole.

    Returns:
        The JSON file, written last: where it is, the others are complete.

    Raises:
        OvssError: The folder cannot be written to.
    """
    folder = Path(folder)
    tables = {"classes": class_table(result), "images": image_table(result)}
    if result.confusion is not None:
        tables["confusion"] = confusion_table(result)
    for kind, table in tables.items():
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False, compression="zstd", compression_level=19)
        write_atomic(folder / f"{result.name}.{kind}.parquet", buffer.getvalue())
    return write_atomic(folder / f"{result.name}.json", dumps(to_dict(result)))


def class_table(result: RunResult) -> Any:
    """One row per label, background first.

    Returns:
        DataFrame: label, class, kind (background, thing, stuff), iou, precision, recall (NaN where
        undefined), and the sums intersection, predicted, truth.
    """
    import pandas as pd

    counts = result.counts
    kinds = ["background"] + [
        "thing" if k in result.things else "stuff" for k in range(1, len(result.classes) + 1)
    ]
    table = {
        "label": np.arange(len(kinds), dtype=np.int64),
        "class": ["background", *result.classes],
        "kind": kinds,
        "iou": _iou(result),
        "precision": metrics.precision(counts),
        "recall": metrics.recall(counts),
    }
    return pd.DataFrame(table | {name: getattr(counts, name).sum(0) for name in COUNT_NAMES})


def image_table(result: RunResult) -> Any:
    """One row per image and label: image, label, then the counts (integers)."""
    import pandas as pd

    n = result.counts.truth.shape[1]
    table: dict[str, Any] = {
        "image": np.repeat(np.array(result.ids, object), n),
        "label": np.tile(np.arange(n), len(result.ids)),
    }
    table |= {k: getattr(result.counts, k).ravel() for k in COUNT_NAMES}
    if result.boundary is not None:
        table |= {f"boundary_{k}": getattr(result.boundary, k).ravel() for k in COUNT_NAMES}
    return pd.DataFrame(table)


def confusion_table(result: RunResult) -> Any:
    """One row per pair of labels that occurs: truth, predicted (label numbers), pixels."""
    import pandas as pd

    matrix = result.confusion if result.confusion is not None else np.zeros((0, 0), np.int64)
    truth, predicted = np.nonzero(matrix)
    pixels = matrix[truth, predicted]
    return pd.DataFrame({"truth": truth, "predicted": predicted, "pixels": pixels})


def load_counts(path: str | os.PathLike[str]) -> tuple[tuple[str, ...], Counts]:
    """Image names and counts of a stored run.

    Args:
        path: Its JSON or `.images.parquet` file.

    Returns:
        B names, and counts (B, C + 1) each.

    Raises:
        OvssError: The table is missing or damaged.
    """
    import pandas as pd

    path = Path(path)
    if path.suffix == ".json":
        path = path.with_suffix(".images.parquet")
    try:
        table = pd.read_parquet(path)
        ids = tuple(dict.fromkeys(table["image"]))
        shape = (len(ids), -1)
        return ids, Counts(*(table[name].to_numpy(np.int64).reshape(shape) for name in COUNT_NAMES))
    except (OSError, ValueError, KeyError) as error:
        raise OvssError(f"{path}: no table of a run can be read there; run it again") from error
