"""Figures of one method under many vocabularies, and the table of counts they are made of.

Letters: B images, C labels, A amounts, D draws, R resamples of the images.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.evaluate.oracles import background_interval, background_share
from ovsslib.evaluate.stress_cases import Case
from ovsslib.io.files import write_atomic
from ovsslib.metrics import iou as metrics
from ovsslib.metrics.counts import COUNT_NAMES, Counts
from ovsslib.metrics.draws import over_draws, slope_interval
from ovsslib.metrics.iou import Absent, over_images
from ovsslib.protocols.perturb import BY_COUNT, BY_SHARE

RULES: tuple[Absent, ...] = get_args(Absent)
"""What a class without ground truth scores: every figure is given for both."""
UNIT = 10
"""Slopes of distractors are per so many."""


@dataclass(frozen=True)
class Measured:
    """The counts of one vocabulary, and the labels that its mean is over, distractors included."""

    case: Case
    counts: Counts
    scored: Sequence[int]


@dataclass(frozen=True)
class _Figure:
    """Mean IoU under one rule, of all images and of R resamples of them."""

    value: float
    drawn: np.ndarray


def figures(
    measured: Iterable[Measured],
    rows: Mapping[str, Counts],
    scored: Sequence[int],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures, 0..1, each with a 95 % interval `{"value", "low", "high"}`.

    Args:
        measured: All vocabularies over the same images; the first has the names that others are
            compared with.
        rows: Row of `ovsslib.evaluate.oracles.ROWS` -> its counts.
        scored: Labels that their mean is over.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `runs`: vocabulary -> condition, amount, draw, mean IoU under each of `RULES` and
        `background` (`background_share`), intervals over images. `curves`: for each condition and
        amount the means over draws under each rule, with the interval over images, over draws
        (`draws`), and the `difference` to the first, over images and draws together; and the mean
        of `background`. `slopes`: for each condition with amounts the change of mean IoU under each
        rule when all classes are renamed or `UNIT` distractors added. `oracles`: row -> as a run.

    Raises:
        OvssError: Two vocabularies were measured over different images.
    """
    measured = list(measured)
    images = {len(each.counts) for each in measured}
    if len(images) != 1:
        raise OvssError("vocabularies were measured over different images; measure them again")
    weights = metrics.resample_weights(images.pop(), resamples=resamples, seed=seed)

    def all_of(counts: Counts, labels: Sequence[int]) -> dict[Absent, _Figure]:
        return {
            rule: _Figure(
                metrics.mean_iou(counts, labels, absent=rule),
                metrics.resampled(counts, labels, rule, weights),
            )
            for rule in RULES
        }

    def shown(counts: Counts, found: Mapping[Absent, _Figure]) -> dict[str, Any]:
        lost = background_interval(counts, resamples=resamples, seed=seed)
        each = {str(rule): over_images(f.value, f.drawn).to_dict() for rule, f in found.items()}
        return each | {"background": lost.to_dict()}

    found = {each.case: all_of(each.counts, each.scored) for each in measured}
    base = found[measured[0].case]
    groups: dict[str, dict[float, list[Case]]] = {}
    for case in found:
        groups.setdefault(case.condition, {}).setdefault(case.amount or 0, []).append(case)
    lost = {each.case: background_share(each.counts) for each in measured}
    return {
        "runs": {
            each.case.name: vars(each.case) | shown(each.counts, found[each.case])
            for each in measured
        },
        "curves": [
            {"condition": condition, "amount": amount or None}
            | {rule: _mean([found[c][rule] for c in cases], base[rule], seed) for rule in RULES}
            | {"background": float(np.mean([lost[case] for case in cases]))}
            for condition, amounts in groups.items()
            for amount, cases in amounts.items()
        ],
        "slopes": [
            {"condition": condition, "per": _unit(condition)}
            | {
                rule: _slope(
                    {amount: [found[c][rule] for c in cases] for amount, cases in amounts.items()},
                    base[rule],
                    _unit(condition),
                    seed,
                )
                for rule in RULES
            }
            for condition, amounts in groups.items()
            if condition in (*BY_SHARE, *BY_COUNT)
        ],
        "oracles": {row: shown(each, all_of(each, scored)) for row, each in rows.items()},
    }


def _unit(condition: str) -> int:
    return UNIT if condition in BY_COUNT else 1


def _mean(draws: Sequence[_Figure], base: _Figure, seed: int) -> dict[str, Any]:
    """The mean over draws, its intervals, and its difference to the base."""
    values = np.array([each.value for each in draws])
    drawn = np.stack([each.drawn for each in draws])
    one = np.ones(1)
    difference = slope_interval(one, values[None], base.value, drawn[None], base.drawn, seed=seed)
    spread = over_draws(values)
    return {
        **over_images(float(values.mean()), drawn.mean(0)).to_dict(),
        "draws": {"number": len(values), "low": spread.low, "high": spread.high},
        "difference": difference.to_dict(),
    }


def _slope(
    amounts: Mapping[float, Sequence[_Figure]], base: _Figure, unit: int, seed: int
) -> dict[str, float]:
    """The change of mean IoU per unit of amount, over all amounts and draws of a condition."""
    values = np.array([[each.value for each in draws] for draws in amounts.values()])
    drawn = np.array([[each.drawn for each in draws] for draws in amounts.values()])
    at = np.array(list(amounts)) / unit
    return slope_interval(at, values, base.value, drawn, base.drawn, seed=seed).to_dict()


def write_counts(
    path: str | os.PathLike[str], ids: Sequence[str], found: Mapping[str, Counts]
) -> Path:
    """Store counts of several settings over the same images as Parquet.

    Args:
        path: The file.
        ids: Names of B images.
        found: Setting -> (B, C) counts; C may differ.

    Returns:
        The path. One line per setting, image and label; lines of zeros are left out, but for the
        first and the last label.
    """
    import pandas as pd

    tables = []
    for name, counts in found.items():
        labels = counts.truth.shape[1]
        table: dict[str, Any] = {
            "setting": name,
            "image": np.repeat(np.array(ids, object), labels),
            "label": np.tile(np.arange(labels, dtype=np.int32), len(ids)),
        }
        table |= {part: getattr(counts, part).ravel() for part in COUNT_NAMES}
        frame = pd.DataFrame(table)
        some = frame[list(COUNT_NAMES)].any(axis=1) | frame["label"].isin((0, labels - 1))
        tables.append(frame[some])
    buffer = io.BytesIO()
    pd.concat(tables).to_parquet(buffer, index=False, compression="zstd")
    return write_atomic(path, buffer.getvalue())


def read_counts(path: str | os.PathLike[str]) -> tuple[tuple[str, ...], dict[str, Counts]]:
    """Read what `write_counts` stored.

    Args:
        path: The file, or the JSON file beside it.

    Returns:
        Names of B images, and setting -> counts.

    Raises:
        OvssError: It is missing or damaged.
    """
    import pandas as pd

    path = Path(path)
    if path.suffix == ".json":
        path = path.with_suffix(".images.parquet")
    found, ids = {}, tuple[str, ...]()
    try:
        for name, table in pd.read_parquet(path).groupby("setting", sort=False):
            row, ids = _numbered(table["image"])
            counts = [np.zeros((len(ids), int(table["label"].max()) + 1), np.int64) for _ in "ipt"]
            for part, values in zip(COUNT_NAMES, counts, strict=True):
                values[row, table["label"]] = table[part]
            found[str(name)] = Counts(*counts)
    except (OSError, ValueError, KeyError) as error:
        raise OvssError(f"{path}: no counts can be read there; measure them again") from error
    return ids, found


def _numbered(names: Iterable[str]) -> tuple[list[int], tuple[str, ...]]:
    """Each name's place among the different ones, in order; and those."""
    places: dict[str, int] = {}
    row = [places.setdefault(name, len(places)) for name in names]
    return row, tuple(places)
