"""Several settings over the same images: the runs, their paired differences, their file.

`ovss deviations` compares the departures of the released code in this way, `ovss factorial` the
gradient, the heads and the dropout.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.evaluate.result import RunResult
from ovsslib.evaluate.resume import SIZE, run_sharded
from ovsslib.evaluate.run import load_models, model_label
from ovsslib.evaluate.spec import SERIAL, Execution, RunSpec
from ovsslib.filters import split_filter
from ovsslib.io.files import check_folder, read_text, write_atomic
from ovsslib.io.json import dumps
from ovsslib.metrics import iou as metrics
from ovsslib.metrics.counts import COUNT_NAMES, Counts
from ovsslib.paths import data
from ovsslib.pnp.config import PnPConfig

SCHEMA = 1


def shipped(kind: str) -> Path:
    """The folder of the results that the book shows.

    Args:
        kind: `"deviations"` or `"factorial"`.
    """
    return data("results", kind)


def measure(
    spec: RunSpec,
    settings: Callable[[PnPConfig], Mapping[str, PnPConfig]],
    folder: str | os.PathLike[str],
    execution: Execution = SERIAL,
    facts: Mapping[str, Any] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Run several settings over the same images and store figures and counts.

    It runs in shards (`ovsslib.evaluate.resume`), so that a call that was broken off continues when
    nothing that can change a number has changed. Shards are removed at the end.

    Args:
        spec: Model, preset and images.
        settings: From the model's settings to those that are compared, by name; the first of them
            is the one that differences are to.
        folder: For `<name>.json` (figures) and `<name>.images.parquet` (counts per image);
            made when missing.
        execution: How to run. With `drop_sep` figures depend on the batch, which is recorded;
            shards hold whole batches.
        facts: What the record says besides.

    Returns:
        The JSON file and what it holds.

    Raises:
        OvssError: A name is unknown, a file is missing, or the folder cannot be written to.
    """
    folder = check_folder(folder)
    (model,) = load_models({"": spec}, execution).values()
    configs = settings(model.config)
    weights, vlm = weights_digest(model.matcher), model_label(model.matcher)
    del model  # the runs load it themselves
    specs = {name: replace(spec, preset=None, config=_fields(c)) for name, c in configs.items()}
    size = execution.batch * max(1, SIZE // execution.batch)
    key: dict[str, Any] = {
        "vlm": vlm,
        "weights": weights,
        **{name: getattr(spec, name) for name in ("dataset", "split", "limit")},
        "filter": split_filter(spec.filter, spec.filter_settings)[0],
    }
    stem = file_stem(key)
    store = folder / f"{stem}.shards"
    results = run_sharded(specs, store, execution, size=size)
    base = next(iter(results.values()))
    key |= {"filter_settings": base.filter_settings} if base.filter_settings else {}
    key |= {
        "protocol": base.protocol,
        "batch": execution.batch,
        "settings": {name: config.hash() for name, config in configs.items()},
        **(facts or {}),
    }
    record = {"schema": SCHEMA, "name": stem, **key, **_summary(results)}
    record |= {"seconds": round(base.seconds, 1), "provenance": base.provenance}
    _write_counts(folder / f"{stem}.images.parquet", results)
    path = write_atomic(folder / f"{stem}.json", dumps(record))
    shutil.rmtree(store, ignore_errors=True)
    return path, record


def _fields(config: PnPConfig) -> dict[str, Any]:
    """All settings but the one that belongs to the protocol."""
    return {name: value for name, value in config.to_dict().items() if name != "background"}


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `measure` stored.

    Args:
        path: The JSON file.

    Raises:
        OvssError: It is missing or something else.
    """
    path = Path(path)
    try:
        record = json.loads(read_text(path))
        if record["schema"] != SCHEMA or not record["runs"]:
            raise LookupError("no runs")
    except (OvssError, ValueError, LookupError, TypeError) as error:
        raise OvssError(
            f"{path}: no stored comparison can be read there; measure it again"
        ) from error
    return dict(record)


def load_counts(path: str | os.PathLike[str], setting: str) -> tuple[tuple[str, ...], Counts]:
    """Image names and counts of one setting.

    Args:
        path: The JSON file that `measure` stored; the table lies beside it.
        setting: A name of the settings that were compared.

    Returns:
        B names, and counts (B, C + 1) each.

    Raises:
        OvssError: The table is missing, damaged, or has no such setting.
    """
    import pandas as pd

    path = Path(path).with_suffix(".images.parquet")
    try:
        table = pd.read_parquet(path).query("setting == @setting")
        ids = tuple(dict.fromkeys(table["image"]))
        counts = (table[name].to_numpy(np.int64).reshape(len(ids), -1) for name in COUNT_NAMES)
        return ids, Counts(*counts)
    except (OSError, ValueError, KeyError) as error:
        raise OvssError(
            f"{path}: no counts of setting {setting!r} can be read there; measure it again"
        ) from error


def file_stem(key: Mapping[str, Any]) -> str:
    """Name of a results file without ending.

    Example:
        >>> file_stem({"vlm": "a/b", "dataset": "voc", "split": "val", "filter": "all", "limit": 9})
        'a-b_voc-val_all_9'
    """
    vlm = str(key["vlm"]).replace("/", "-")
    limit = "" if key["limit"] is None else f"_{key['limit']}"
    return f"{vlm}_{key['dataset']}-{key['split']}_{key['filter']}{limit}"


def weights_digest(matcher: Any) -> str:
    """Ten hexadecimal characters that change when a weight of the model does."""
    from ovsslib.vlm import weights

    return weights.weights_digest(matcher.model)[:10]


def _summary(results: Mapping[str, RunResult]) -> dict[str, Any]:
    """The figures of all settings, each against the first."""
    base = next(iter(results.values()))
    how: dict[str, Any] = {"absent": base.protocol["absent"]}
    runs = {}
    for name, result in results.items():
        pairs = [(getattr(result.counts, n), getattr(base.counts, n)) for n in COUNT_NAMES]
        changed = np.any([mine != other for mine, other in pairs], axis=(0, 2))
        difference = metrics.paired_interval(result.counts, base.counts, base.scored, **how)
        runs[name] = {
            "miou": metrics.interval(result.counts, base.scored, **how).to_dict(),
            "difference": difference.to_dict(),
            "pictures_changed": int(changed.sum()),
        }
    return {
        "images": len(base.ids),
        "failed": base.failed,
        "config": base.config,
        "runs": runs,
    }


def _write_counts(path: Path, results: Mapping[str, RunResult]) -> None:
    """One line per setting, image and label."""
    import pandas as pd

    tables = []
    for name, result in results.items():
        labels = result.counts.truth.shape[1]
        columns: dict[str, Any] = {
            "setting": name,
            "image": np.repeat(np.array(result.ids, object), labels),
            "label": np.tile(np.arange(labels), len(result.ids)),
        }
        columns |= {part: getattr(result.counts, part).ravel() for part in COUNT_NAMES}
        tables.append(pd.DataFrame(columns))
    buffer = io.BytesIO()
    pd.concat(tables).to_parquet(buffer, index=False)
    write_atomic(path, buffer.getvalue())
