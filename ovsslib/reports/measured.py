"""Measured figures: one of each run stored by `ovsslib.evaluate.result.save`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.evaluate.result import figure as look_up
from ovsslib.io.files import read_text
from ovsslib.methods import records
from ovsslib.paths import data
from ovsslib.reports.published import Figure, canonical

UNDEFINED = "–"
"""Shown in place of a value that is not defined."""


def default_folder() -> Path:
    """Where `ovss run` stores results, if that exists; else the shipped results."""
    here = Path(os.environ.get("OVSS_RESULTS") or "ovss-results")
    return here if here.is_dir() else shipped_folder()


def shipped_folder() -> Path:
    """The results shipped with the library."""
    return data("results")


def load_measured(folders: Sequence[str | os.PathLike[str]], metric: str = "miou") -> list[Figure]:
    """Load one figure of every stored run.

    Args:
        folders: Folders with results files of `ovsslib.evaluate.result.save`, or such files. Other
            records of this library (speed, deviations) and subfolders are skipped.
        metric: Name of the figure, as in `ovsslib.evaluate.result.figure`.

    Returns:
        Figures in the order of folders and file names. A run without this figure has NaN.

    Raises:
        OvssError: A folder is missing or holds no run, a file is damaged (it is named), or no run
            has a figure of this name.
    """
    runs = [(path, record) for path in _paths(folders) if (record := _record(path)) is not None]
    if not runs:
        where = ", ".join(str(folder) for folder in folders) or "no folder"
        raise OvssError(f"{where}: no results there; store them with `ovss run --out FOLDER`")
    figures, errors = [], []
    for path, record in runs:
        try:
            value = look_up(record["metrics"], metric)
        except OvssError as error:
            errors.append(error)
            figures.append(_figure(path, record, metric, None, "this run has no such figure"))
        except (LookupError, TypeError, AttributeError) as error:
            raise _damaged(path, error) from error
        else:
            why = "" if value is not None else "not defined: no such class occurs"
            figures.append(_figure(path, record, metric, value, why))
    if len(errors) == len(runs):
        raise errors[0]
    return figures


def _paths(folders: Sequence[str | os.PathLike[str]]) -> list[Path]:
    paths: list[Path] = []
    for folder in map(Path, folders):
        if not folder.exists():
            raise OvssError(f"{folder}: no such folder; results are stored by `ovss run --out`")
        paths += sorted(folder.glob("*.json")) if folder.is_dir() else [folder]
    # A folder given twice counts once.
    return list({path.resolve(): path for path in paths}.values())


def _record(path: Path) -> dict[str, Any] | None:
    """A run's record; None for another kind of record of this library."""
    try:
        record = json.loads(read_text(path))
    except (ValueError, OvssError) as error:
        raise _damaged(path, error) from error
    if not isinstance(record, dict):
        raise _damaged(path, TypeError(f"a {type(record).__name__}, not an object"))
    other = "metrics" not in record and ("runs" in record or "kind" in record)
    return None if other else record


def _damaged(path: Path, error: Exception) -> OvssError:
    reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
    return OvssError(
        f"{path} is not a results file of `ovss run` ({reason}); run it again or move it away"
    )


def _figure(
    path: Path, record: dict[str, Any], metric: str, value: float | None, note: str
) -> Figure:
    try:
        spread = record["metrics"].get(metric)
        low, high = (
            100 * float(spread[end]) if isinstance(spread, dict) and value is not None else math.nan
            for end in ("low", "high")
        )
        percent = math.nan if value is None else 100 * float(value)
        text = UNDEFINED if value is None else f"{percent:.1f}"
        text += "" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]"
        if value is not None and not 0 <= percent <= 100:
            raise ValueError(f"{metric} is {value}, outside 0 to 1")
        more = record.get("filter_settings") or {}
        given = ", ".join(f"{name}={setting}" for name, setting in sorted(more.items()))
        made = record["provenance"]
        known = records().get(str(record["method"]))
        facts = [made.get("device"), made.get("dtype"), str(made.get("time", ""))[:10]]
        return Figure(
            kind="measured",
            system=str(record["method"]),
            training="",
            supervision=known.supervision if known else "",
            model=str(record["vlm"]),
            protocol=str(record["protocol"]["name"]),
            filter=f"{record['filter']} ({given})" if given else str(record["filter"]),
            dataset=canonical(record["dataset"], [record["dataset"]]),
            split=str(record["split"]),
            metric=metric,
            value=percent,
            text=text,
            low=low,
            high=high,
            settings=str(record["config_hash"]),
            images=int(record["images"]),
            limit=None if record["limit"] is None else int(record["limit"]),
            failed=len(record["failed"]),
            allowed_bad=int(record.get("allowed_bad") or 0),
            date=str(made.get("time", ""))[:10],
            # The folder's name distinguishes files of the same name; its path would name a machine.
            source=", ".join(
                [f"{path.resolve().parent.name}/{path.name}", *(str(f) for f in facts if f)]
            ),
            note=note,
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
