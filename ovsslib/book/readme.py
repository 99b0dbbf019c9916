"""The tables of README.md and of the book's first page: from the results files, never by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ovsslib.errors import OvssError
from ovsslib.evaluate.result import by_preset
from ovsslib.methods import SUPERVISION
from ovsslib.methods import records as known_methods

FOLDER = Path("data") / "results"
"""The results that README shows: JSON files of `ovsslib.evaluate.result.save`."""
OURS = "pnp-ovss"
"""The method whose settings one table compares; the other has all methods."""
INTRO = Path("book") / "intro.md"
"""The book's first page, which has a table, too."""
IMAGE = Path("book") / "_static" / "readme.png"
"""The image in README, made by `draw`."""
SHOWN = (3, 11, 40, 57)
"""Which images of Diorama's val split are in it."""

_SALIENCE = {"gradcam": "attention × gradient", "attention": "attention", "random": "random maps"}
_COLUMNS = ("miou", "miou_things", "miou_stuff")
_GIVEN = {
    "oracle": "those in the image",
    "vlm": "those the model's match score finds",
    "clip": "those CLIP finds",
    "all": "all",
}
_SHORT = {"all": "all classes", "clip": "CLIP's", "vlm": "the match's", "oracle": "given"}
_USUAL = "pnp-fixed"


def _order(record: dict[str, Any]) -> tuple[Any, ...]:
    """The order of rows: by protocol and classes given, the best first."""
    protocol = record["protocol"]["name"]
    order = list(_GIVEN)
    kind = order.index(record["filter"]) if record["filter"] in order else len(order)
    return protocol != _USUAL, protocol, kind, -_value(record, "miou")


def table(records: list[dict[str, Any]]) -> str:
    """Results as a Markdown table, the best first within a protocol and class filter.

    Args:
        records: What results files hold (`ovsslib.evaluate.result.to_dict`).

    Returns:
        Lines of Markdown; figures in percent, 95 % intervals in brackets.

    Raises:
        OvssError: There is nothing to show, or a record lacks a figure.
    """
    if not records:
        raise OvssError(f"no results in {FOLDER}: store them with `ovss run --out {FOLDER}`")
    rows = []
    for record in sorted(records, key=_order):
        low, high = (100 * record["metrics"]["miou"][end] for end in ("low", "high"))
        rows.append(
            {
                "model": record["vlm"],
                "maps": describe(record["config"]),
                "data": f"{record['dataset']} {record['split']}, {record['images']} images",
                "protocol": record["protocol"]["name"],
                "classes given": _GIVEN.get(record["filter"], record["filter"]),
                "mIoU": f"{_percent(record, 'miou')} [{low:.1f}, {high:.1f}]",
                "things": _percent(record, "miou_things"),
                "stuff": _percent(record, "miou_stuff"),
            }
        )
    align = ["left"] * 5 + ["right"] * 3
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, colalign=align)


def peers_table(records: list[dict[str, Any]]) -> str:
    """All systems as a Markdown table, a column for each class filter; the usual protocol.

    Args:
        records: As for `table`. Of PnP-OVSS, runs with other settings than the model's preset are
            left out.

    Returns:
        Lines of Markdown, by supervision, the best with the classes given first; empty without
        a record.
    """
    order = list(SUPERVISION)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    given: dict[tuple[str, str], float] = {}
    for record in records:
        short = _SHORT.get(record["filter"])
        if record["protocol"]["name"] != _USUAL or short is None or not by_preset(record):
            continue
        key, kind = (record["method"], record["vlm"]), known_methods()[record["method"]].supervision
        titles = {"method": key[0], "model": key[1], "supervision": kind}
        row = rows.setdefault(key, titles | dict.fromkeys(_SHORT.values(), ""))
        row[short] = _percent(record, "miou")
        if record["filter"] == "oracle":
            given[key] = _value(record, "miou")
    if not rows:
        return ""
    ordered = sorted(
        rows, key=lambda key: (order.index(rows[key]["supervision"]), -given.get(key, 0.0))
    )
    align = ["left"] * 3 + ["right"] * len(_SHORT)
    return pd.DataFrame([rows[key] for key in ordered]).to_markdown(
        index=False, disable_numparse=True, colalign=align
    )


def short_table(records: list[dict[str, Any]]) -> str:
    """PnP-OVSS and the best other system of each kind of supervision, as a Markdown table.

    Args:
        records: As for `peers_table`.

    Returns:
        Lines of Markdown: mIoU with all classes asked for and with those of the image.
    """
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for record in records:
        if record["protocol"]["name"] == _USUAL and by_preset(record):
            key = record["method"], record["vlm"]
            found.setdefault(key, {})[record["filter"]] = record
    whole = {key: row for key, row in found.items() if {"all", "oracle"} <= row.keys()}
    best = sorted(whole, key=lambda key: -_value(whole[key]["oracle"], "miou"))
    shown: dict[str, tuple[str, str]] = {}
    for key in best:
        if key[0] != OURS:
            shown.setdefault(known_methods()[key[0]].supervision, key)
    ours = [key for key in best if key[0] == OURS]
    rows = []
    for method, model in [*ours, *(shown[kind] for kind in SUPERVISION if kind in shown)]:
        row = {"method": method, "model": model}
        row["trained with"] = known_methods()[method].supervision
        for name, title in (("all", "all classes asked for"), ("oracle", "classes given")):
            record = whole[method, model][name]
            low, high = (100 * record["metrics"]["miou"][end] for end in ("low", "high"))
            row[title] = f"{_percent(record, 'miou')} [{low:.1f}, {high:.1f}]"
        rows.append(row)
    align = ["left"] * 3 + ["right"] * 2
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, colalign=align)


def describe(config: dict[str, Any]) -> str:
    """A method's settings in a few words.

    Example:
        >>> describe({"salience": "gradcam", "rounds": 4, "blur": 0.05, "crf": False})
        'attention × gradient, 4 rounds, blur'
    """
    words = [_SALIENCE.get(config["salience"], config["salience"])]
    if config.get("rounds", 1) > 1:
        words.append(f"{config['rounds']} rounds")
    words += ["blur"] * bool(config.get("blur")) + ["CRF"] * bool(config.get("crf"))
    return ", ".join(words)


def fill(text: str, content: str, name: str = "results") -> str:
    r"""A text with what stands between two markers replaced.

    Example:
        >>> fill("a\n<!-- results:begin -->old<!-- results:end -->\nb", "new").splitlines()[3]
        'new'
    """
    begin, end = (f"<!-- {name}:{side} -->" for side in ("begin", "end"))
    if text.count(begin) != 1 or text.count(end) != 1:
        raise OvssError(f"the text must hold {begin} and {end} once each")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def render(root: Path) -> str:
    """README.md as it must be, given the results files.

    Args:
        root: The checkout.

    Returns:
        The whole text.

    Raises:
        OvssError: A file is missing or no results file.
    """
    records = _read(root / FOLDER)
    ours = [record for record in records if record["method"] == OURS]
    text = fill((root / "README.md").read_text(encoding="utf-8"), table(ours))
    return fill(text, peers_table(records), "peers")


def render_intro(root: Path) -> str:
    """The book's first page as it must be, given the results files; see `render`."""
    text = (root / INTRO).read_text(encoding="utf-8")
    return fill(text, short_table(_read(root / FOLDER)))


def _read(folder: Path) -> list[dict[str, Any]]:
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(json.loads(path.read_text(encoding="utf-8")))
            [_value(records[-1], name) for name in _COLUMNS]
            if records[-1]["method"] == OURS:
                describe(records[-1]["config"])
        except (ValueError, KeyError, TypeError) as error:
            raise OvssError(f"{path} is not a results file of `ovss run`: {error!r}") from error
    return records


def write(root: Path) -> Path:
    """Fill the tables in README.md and on the book's first page.

    Args:
        root: The checkout.

    Returns:
        README.md.
    """
    from ovsslib.io.files import write_atomic

    if (root / INTRO).is_file():
        write_atomic(root / INTRO, render_intro(root))
    return write_atomic(root / "README.md", render(root))


def draw(root: Path) -> Path:
    """Draw README's image: scenes of the val split above their segmentation by micro-blip.

    Args:
        root: The checkout.

    Returns:
        The PNG file.
    """
    import io

    from PIL import Image

    from ovsslib.datasets import load_dataset
    from ovsslib.draw.overlay import overlay_image
    from ovsslib.filters import get_filter
    from ovsslib.io.files import write_atomic
    from ovsslib.methods import load

    data = load_dataset("diorama", root / "data" / "diorama", "val")
    model = load("pnp-ovss", vlm="micro-blip", background="few")
    columns = []
    for name in (data.ids[index] for index in SHOWN):
        classes = [data.classes[k - 1] for k in get_filter("oracle")(data, name)]
        result = model.segment(data.image(name), classes)
        below = overlay_image(result.image, result.labels, classes)
        above = data.image(name)
        height = round(above.height * below.width / above.width)
        columns.append((above.resize((below.width, height)), below))
    gap, width = 12, sum(max(above.width, below.width) for above, below in columns)
    top, bottom = (max(pair[row].height for pair in columns) for row in (0, 1))
    sheet = Image.new("RGB", (width + gap * (len(columns) - 1), top + gap + bottom), "white")
    x = 0
    for above, below in columns:
        sheet.paste(above, (x, top - above.height))
        sheet.paste(below, (x, top + gap))
        x += max(above.width, below.width) + gap
    buffer = io.BytesIO()
    sheet.quantize(256).save(buffer, "PNG", optimize=True)  # a third of the bytes of all colours
    return write_atomic(root / IMAGE, buffer.getvalue())


def _value(record: dict[str, Any], name: str) -> float:
    return float(record["metrics"][name]["value"])


def _percent(record: dict[str, Any], name: str) -> str:
    return f"{100 * _value(record, name):.1f}"
