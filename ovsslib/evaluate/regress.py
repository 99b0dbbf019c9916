"""Recompute stored figures and compare: a drift must be seen, whoever caused it.

The file of expected figures::

    {"schema": 1,
     "runs": [{"name": "oracle", "method": "pnp-ovss", "vlm": "micro-blip", "preset": null,
               "config": {"crf": false}, "dataset": "diorama", "split": "val",
               "protocol": "pnp-fixed", "filter": "oracle", "limit": 40,
               "expect": {"miou": {"value": 0.55, "tolerance": 0.01},
                          "iou/house": {"value": 0.7, "tolerance": 0.02}}}]}

Only `name`, `vlm` and `expect` must be given; the rest is as in
`ovsslib.evaluate.spec.RunSpec`. Names of figures are those of `ovsslib.evaluate.result.figure`; a
`value` of null is filled by `ovss regress --update`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.evaluate.result import RunResult, figure, figures
from ovsslib.evaluate.spec import RunSpec
from ovsslib.io.json import dumps

_REQUIRED = ("name", "vlm", "expect")


@dataclass(frozen=True)
class Expected:
    """One run with the figures it must meet.

    Attributes:
        name: Unique in the file.
        run: What to run.
        expect: Figure -> (value or None, tolerance).
    """

    name: str
    run: RunSpec
    expect: dict[str, tuple[float | None, float]]


@dataclass(frozen=True)
class Check:
    """One figure, expected and measured."""

    run: str
    figure: str
    expected: float | None
    tolerance: float
    measured: float | None

    @property
    def ok(self) -> bool:
        """Whether the measured value is within the tolerance (an unset value never is)."""
        if self.expected is None or self.measured is None:
            return False
        # A hair of slack: 0.50 + 0.01 is not exactly 0.51 in binary.
        return abs(self.measured - self.expected) <= self.tolerance * (1 + 1e-9) + 1e-12


@dataclass(frozen=True)
class Report:
    """The outcome of all runs."""

    checks: tuple[Check, ...]
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every figure of every run is within its tolerance, and every image was read."""
        return not self.failed and all(check.ok for check in self.checks)


def read_expected(path: str | os.PathLike[str]) -> list[Expected]:
    """Read and check a file of expected figures.

    Args:
        path: JSON, see the module.

    Returns:
        Its runs, in order.

    Raises:
        OvssError: The file is missing, no JSON, or has a missing, unknown or wrong key.
    """
    path = Path(path)
    if not path.is_file():
        raise OvssError(f"{path}: no file of expected figures; give it with --expected")
    try:
        record = json.loads(path.read_text("utf-8-sig"))
        runs = [_read_run(item) for item in record["runs"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OvssError(f"{path}: not a file of expected figures ({error})") from error
    except OvssError as error:
        raise OvssError(f"{path}: {error}") from error
    names = [run.name for run in runs]
    if not runs or len(set(names)) != len(names):
        raise OvssError(f"{path}: holds no run, or two of one name; give each run its own name")
    return runs


def _read_run(item: dict[str, Any]) -> Expected:
    missing = [key for key in _REQUIRED if key not in item]
    if missing:
        raise OvssError(f"a run lacks {', '.join(missing)}")
    spec = {key: value for key, value in item.items() if key not in ("name", "expect")}
    name = str(item["name"])
    if not item["expect"]:
        raise OvssError(f"run {name!r} expects no figure")
    expect = {}
    for key, bound in item["expect"].items():
        value, tolerance = bound["value"], bound["tolerance"]
        numbers = [tolerance] if value is None else [value, tolerance]
        good = all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
        if not good or tolerance < 0:
            raise OvssError(f"{key} of run {name!r} needs a value and a tolerance of at least 0")
        expect[key] = (None if value is None else float(value), float(tolerance))
    return Expected(name, RunSpec.from_dict(spec), expect)


def compare(expected: Expected, result: RunResult) -> list[Check]:
    """Compare one run with what it must meet.

    Args:
        expected: Names and figures.
        result: The run, measured now.

    Returns:
        One check per expected figure.

    Raises:
        OvssError: An expected figure has a name that does not exist.
    """
    # Intervals are not compared; two resamples keep them cheap.
    measured = figures(result, resamples=2)
    return [
        Check(expected.name, name, value, tolerance, figure(measured, name))
        for name, (value, tolerance) in expected.expect.items()
    ]


def check(runs: Iterable[Expected], measure: Callable[[Expected], RunResult]) -> Report:
    """Measure and compare every run.

    Args:
        runs: What to measure.
        measure: Gives the result of one of them (`ovsslib.evaluate.run.run_many` makes them all).

    Returns:
        All checks, and the images that could not be read.
    """
    checks: list[Check] = []
    failed: dict[str, str] = {}
    for expected in runs:
        result = measure(expected)
        checks += compare(expected, result)
        failed |= result.failed
    return Report(tuple(checks), failed)


def update(path: str | os.PathLike[str], report: Report) -> Path:
    """Write the measured values into the file; tolerances and all else stay.

    Args:
        path: The file of expected figures.
        report: What was measured.

    Returns:
        The file.

    Raises:
        OvssError: An image could not be read, a figure is undefined, or the file cannot be
            written.
    """
    from ovsslib.io.files import write_atomic

    undefined = [f"{c.figure} of {c.run}" for c in report.checks if c.measured is None]
    if report.failed or undefined:
        why = next(iter(report.failed), None) or undefined[0]
        raise OvssError(f"{path}: not updated, because of {why}; mend that first")
    record = json.loads(Path(path).read_text("utf-8-sig"))
    measured = {(c.run, c.figure): c.measured for c in report.checks}
    for item in record["runs"]:
        for name, bound in item["expect"].items():
            value = measured[str(item["name"]), name]
            # Six digits: a difference far below any tolerance should not show in the history.
            bound["value"] = None if value is None else round(value, 6)
    return write_atomic(path, dumps(record))


def table(report: Report) -> str:
    """The checks as aligned text, in percent."""
    rows = [("run", "figure", "expected", "tolerance", "measured", "")]
    for c in report.checks:
        mark = "ok" if c.ok else ("unset" if c.expected is None else "DRIFT")
        rows.append((c.run, c.figure, _pc(c.expected), _pc(c.tolerance), _pc(c.measured), mark))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in _cells(row, widths)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cells(row: tuple[str, ...], widths: list[int]) -> Iterable[tuple[int, tuple[str, int]]]:
    return enumerate(zip(row, widths, strict=True))


def _pc(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
