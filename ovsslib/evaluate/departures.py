"""What each departure of the released code is worth: the runs, their figures, their file.

The paper's behaviour, each of `ovsslib.pnp.departures.DEVIATIONS` by itself and all of them
together run over the same images, and every difference is paired.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.evaluate.result import RunResult
from ovsslib.evaluate.spec import SERIAL, Execution, RunSpec
from ovsslib.evaluate.task import Task
from ovsslib.io.files import make_folder, write_atomic
from ovsslib.io.json import dumps
from ovsslib.metrics import iou as metrics
from ovsslib.metrics.counts import COUNT_NAMES, Counts
from ovsslib.paths import data
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.departures import PAPER, settings

SCHEMA = 1


def shipped() -> Path:
    """The folder of the results that the book shows."""
    return data("results", "deviations")


def measure(
    spec: RunSpec, folder: str | os.PathLike[str], execution: Execution = SERIAL
) -> tuple[Path, dict[str, Any]]:
    """Run all `settings` over the same images and store figures and counts.

    What is done is kept in `<name>.part.json` after each setting; a call that was broken off
    continues there when model, settings, images, batch and code are the same.

    Args:
        spec: Model, preset and images.
        folder: For `<name>.json` (figures) and `<name>.images.parquet` (counts per image);
            made when missing.
        execution: How to run. With `drop_sep` figures depend on the batch, which is recorded.

    Returns:
        The JSON file and what it holds.

    Raises:
        OvssError: A name is unknown, a file is missing, or the folder cannot be written to.
    """
    import ovsslib
    from ovsslib.datasets import load_dataset
    from ovsslib.evaluate.run import ablation, compute_place, salience_groups
    from ovsslib.evaluate.task import task
    from ovsslib.filters import split_filter
    from ovsslib.io.provenance import git_state, provenance

    folder = make_folder(folder)
    options = {"preset": spec.preset, "device": execution.device, **spec.config}
    model: Any = ovsslib.load("pnp-ovss", vlm=spec.vlm, **options)
    data = load_dataset(spec.dataset, execution.root, spec.split)
    named = ("protocol", "filter", "filter_settings", "limit")
    work = task(data, **{name: getattr(spec, name) for name in named})
    told = work.class_filter.described  # a filter's settings without paths; none for oracle and all
    configs = settings(model.config)
    key: dict[str, Any] = {
        "vlm": model.matcher.name,
        "weights": weights_digest(model.matcher),
        **{name: getattr(spec, name) for name in ("dataset", "split", "limit")},
        "filter": split_filter(spec.filter, spec.filter_settings)[0],
        **({"filter_settings": told} if told else {}),
        "protocol": work.protocol.to_dict(),
        "batch": execution.batch,
        "settings": {name: config.hash() for name, config in configs.items()},
    }
    mark = {**key, "git": (git_state() or {}).get("commit")}
    stem = file_stem(key)
    part = folder / f"{stem}.part.json"
    seconds, rows = _continue(part, mark)
    for group in salience_groups(configs):
        if all(name in rows for name in group):
            continue
        found = ablation(model.matcher, {name: configs[name] for name in group}, work, execution)
        seconds += found[group[0]].seconds
        rows |= {name: _row(result) for name, result in found.items()}
        write_atomic(part, dumps({"mark": mark, "seconds": seconds, "rows": rows}))
    record = {"schema": SCHEMA, "name": stem, **key, **_summary(rows, work, configs)}
    record |= {
        "seconds": round(seconds, 1),
        "provenance": provenance(**compute_place(model.matcher)),
    }
    _write_counts(folder / f"{stem}.images.parquet", rows)
    path = write_atomic(folder / f"{stem}.json", dumps(record))
    part.unlink(missing_ok=True)
    return path, record


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `measure` stored.

    Args:
        path: The JSON file.

    Raises:
        OvssError: It is missing or something else.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA or PAPER not in record["runs"]:
            raise LookupError(PAPER)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OvssError(
            f"{path}: no results of `ovss deviations` can be read there; run it again"
        ) from error
    return dict(record)


def load_counts(path: str | os.PathLike[str], setting: str) -> tuple[tuple[str, ...], Counts]:
    """Image names and counts of one setting.

    Args:
        path: The JSON file that `measure` stored; the table lies beside it.
        setting: A key of `ovsslib.pnp.departures.settings`.

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
            f"{path}: no counts of setting {setting!r} can be read there; run `ovss deviations`"
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
    import torch

    found = hashlib.sha256()
    for name, value in sorted(matcher.model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:10]


def _continue(part: Path, mark: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Seconds and rows of a call that was broken off; nothing when it measured something else."""
    try:
        kept = json.loads(part.read_text(encoding="utf-8"))
        # Through JSON and back, as the stored one went.
        if kept["mark"] == json.loads(dumps(mark)):
            return float(kept["seconds"]), dict(kept["rows"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return 0.0, {}


def _row(result: RunResult) -> dict[str, Any]:
    """What is kept of one run: plain lists."""
    counts = {name: getattr(result.counts, name).tolist() for name in COUNT_NAMES}
    return {"ids": list(result.ids), "failed": result.failed, "config": result.config, **counts}


def _counts(row: Mapping[str, Any]) -> Counts:
    return Counts(*(np.array(row[name], np.int64) for name in COUNT_NAMES))


def _summary(
    rows: Mapping[str, Any], work: Task, configs: Mapping[str, PnPConfig]
) -> dict[str, Any]:
    """The figures of all settings, each against the paper's."""
    scored, absent = work.protocol.scored_classes(work.dataset), work.protocol.absent
    base = _counts(rows[PAPER])
    runs = {}
    for name in configs:
        counts = _counts(rows[name])
        changed = [getattr(counts, one) != getattr(base, one) for one in COUNT_NAMES]
        runs[name] = {
            "miou": metrics.interval(counts, scored, absent=absent).to_dict(),
            "difference": metrics.paired_interval(counts, base, scored, absent=absent).to_dict(),
            "pictures_changed": int(np.any(changed, axis=(0, 2)).sum()),
        }
    return {
        "images": len(rows[PAPER]["ids"]),
        "failed": rows[PAPER]["failed"],
        "config": rows[PAPER]["config"],
        "runs": runs,
    }


def _write_counts(path: Path, rows: Mapping[str, Any]) -> None:
    """One line per setting, image and label."""
    import pandas as pd

    tables = []
    for name, row in rows.items():
        counts = _counts(row)
        n = counts.truth.shape[1]
        columns: dict[str, Any] = {
            "setting": name,
            "image": np.repeat(np.array(row["ids"], object), n),
            "label": np.tile(np.arange(n), len(row["ids"])),
        }
        columns |= {key: getattr(counts, key).ravel() for key in COUNT_NAMES}
        tables.append(pd.DataFrame(columns))
    buffer = io.BytesIO()
    pd.concat(tables).to_parquet(buffer, index=False)
    write_atomic(path, buffer.getvalue())
