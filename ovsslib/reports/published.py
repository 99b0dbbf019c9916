"""Published figures, one per row, each with its source and protocol (`data/paper/*.csv`).

The columns are `COLUMNS`. `value` is per cent and is kept as printed: 59.63 stays 59.63, 18.0
stays 18.0. A `note` that begins with `UNVERIFIED` marks a figure nobody has checked against its
source. `dataset` is what was scored, in this library's names: where a source counts background as
a class and prints "VOC-20", the row says `voc21` and the note says what is printed.

`supervision` is a key of `ovsslib.methods.SUPERVISION`, `filter` of `FILTERS` and `tier` of
`TIERS`. `version` says which printing of the paper, or which state of the repository, the figure
was read in, and `date` when that came out, or, of a list without a date, when it was read.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.io.files import read_text
from ovsslib.lookup import check_names, unknown
from ovsslib.methods import SUPERVISION
from ovsslib.paths import data

COLUMNS = (
    *("system", "training", "supervision", "backbone", "dataset", "protocol", "filter"),
    *("metric", "value", "tier", "version", "date", "source", "note"),
)
FILTERS: dict[str, str] = {
    "all": "every class of the data set is looked for in every image",
    "own": "the method itself first decides which classes are in the image",
    "gpt4o": "GPT-4o is shown the image and says which classes are in it",
    "oracle": "the method is told which classes are in the image",
}
"""Class filter of a published figure -> whether the method is told the image's classes."""
TIERS: dict[str, str] = {
    "self-reported": "measured by the system's own authors, wherever it is printed",
    "third party": "measured by others",
}
"""Who measured a published figure -> what that means."""
ELSEWHERE = ("coco133", "coco-stuff27")
"""Data sets of published figures that this library does not have: other lists of COCO's classes."""
UNKNOWN = "not known"
"""A date that is not known."""
DATE = r"(19|20)\d{2}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?"
UNVERIFIED = "unverified"
OWN = "own"
"""A protocol that is not one of this library's; details may follow in brackets."""


@dataclass(frozen=True)
class Figure:
    """One figure, published or measured.

    Attributes:
        kind: `"measured"` or `"published"`; the two never share a row of a table.
        system: The method.
        training: What was trained or tuned on what, as the source says; empty where measured.
        supervision: A key of `ovsslib.methods.SUPERVISION`; empty where it is not known.
        model: The vision-language model or backbone.
        protocol: A protocol's name, or `"own"` and whatever is known about it.
        filter: Which classes were looked for.
        dataset: Name of the data set, without aliases.
        split: Name of the split.
        metric: `"miou"` or another name of `ovsslib.evaluate.result.figure`.
        value: Per cent, NaN where the figure is not defined.
        text: The value as a table shows it.
        low: Lower end of the 95 % interval in per cent, NaN where there is none.
        high: Its upper end.
        settings: Hash of the settings; empty where published.
        images: Number of images scored, None where not stated.
        limit: Only the first so many images of the split were used; None for all.
        failed: Number of images that could not be read, None where not stated.
        allowed_bad: How many such images the run was allowed to accept, None where not stated.
        tier: A key of `TIERS`; empty where measured.
        version: Which printing of the source; empty where measured.
        date: Year, month and day, as far as known.
        source: Paper, table or file that the figure is from.
        note: What a reader must know about it.
    """

    kind: str
    system: str
    training: str
    model: str
    protocol: str
    filter: str
    dataset: str
    split: str
    metric: str
    value: float
    text: str
    supervision: str = ""
    low: float = math.nan
    high: float = math.nan
    settings: str = ""
    images: int | None = None
    limit: int | None = None
    failed: int | None = None
    allowed_bad: int | None = None
    tier: str = ""
    version: str = ""
    date: str = ""
    source: str = ""
    note: str = ""

    @property
    def verified(self) -> bool:
        """Whether somebody has checked the figure against its source."""
        return not self.note.startswith(UNVERIFIED)

    @property
    def protocol_name(self) -> str:
        """The protocol without the details in brackets."""
        return self.protocol.partition(" (")[0]


def load_published(folder: str | os.PathLike[str] | None = None) -> list[Figure]:
    """Read and check every CSV file of published figures in a folder.

    Args:
        folder: Where the files are; None for those that come with the library.

    Returns:
        Figures in the order of the files' names and rows.

    Raises:
        OvssError: There is no such file; or a file has other columns, an unknown data set,
            supervision, filter or tier, a value that is not a percentage, no date, an empty cell,
            or one figure twice.
    """
    folder = Path(folder) if folder is not None else data("paper")
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise OvssError(
            f"{folder}: no published figures there; a checkout has them in data/paper "
            "(--no-published leaves them out)"
        )
    return [figure for path in paths for figure in _read(path)]


def canonical(dataset: str, more: Iterable[str] = ()) -> str:
    """A data set's name without alias.

    Args:
        dataset: The name.
        more: Further names to accept.

    Raises:
        OvssError: Unknown name; the nearest is named.

    Example:
        >>> canonical("coco-object")
        'coco-object81'
    """
    from ovsslib.datasets import ALIASES, LAYOUTS

    known = {*ALIASES, *LAYOUTS, *more}
    if dataset not in known:
        raise unknown("data set", dataset, known)
    return ALIASES.get(dataset, dataset)


def _read(path: Path) -> list[Figure]:
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    try:
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise OvssError(f"the columns must be {','.join(COLUMNS)}")
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise OvssError(f"{path}, line {reader.line_num}: not CSV ({error})") from error
    except OvssError as error:
        raise OvssError(f"{path}: {error}") from error
    figures: dict[tuple[str, ...], Figure] = {}
    for line, row in rows:
        try:
            figure = _figure(row)
            if _key(figure) in figures:
                raise OvssError(
                    f"{figure.system} on {figure.dataset} is given twice; keep one row, or "
                    "state in its other columns what differs"
                )
        except OvssError as error:
            raise OvssError(f"{path}, line {line}: {error}") from error
        figures[_key(figure)] = figure
    return list(figures.values())


def _key(figure: Figure) -> tuple[str, ...]:
    who = (figure.system, figure.training, figure.model, figure.protocol, figure.filter)
    return (*who, figure.source, figure.dataset, figure.metric)


def _figure(row: dict[str, Any]) -> Figure:
    if None in row or None in row.values():
        raise OvssError(f"a row must have {len(COLUMNS)} cells; quote texts that contain commas")
    cells = {name: cell.strip() for name, cell in row.items()}
    empty = [name for name in COLUMNS if not cells[name] and name != "note"]
    if empty:
        raise OvssError(f"{', '.join(empty)} is empty; a published figure needs all but a note")
    try:
        value = float(cells["value"])
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise OvssError(f"value {cells['value']!r} is not a percentage from 0 to 100")
    for name, known in (("supervision", SUPERVISION), ("filter", FILTERS), ("tier", TIERS)):
        check_names(name, [cells[name]], known)
    if cells["date"] != UNKNOWN and not re.fullmatch(DATE, cells["date"]):
        raise OvssError(
            f"date {cells['date']!r} is not a year, such as 2024, 2024-06 or 2024-06-17; "
            f"where it is not known, write {UNKNOWN!r}"
        )
    return Figure(
        kind="published",
        system=cells["system"],
        training=cells["training"],
        supervision=cells["supervision"],
        model=cells["backbone"],
        protocol=cells["protocol"],
        filter=cells["filter"],
        dataset=canonical(cells["dataset"], ELSEWHERE),
        split="val",
        metric=cells["metric"],
        value=value,
        text=cells["value"],
        tier=cells["tier"],
        version=cells["version"],
        date=cells["date"],
        source=cells["source"],
        note=cells["note"],
    )
