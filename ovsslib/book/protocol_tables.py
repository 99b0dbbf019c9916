"""The tables of the book's page on protocols, made from the protocols themselves."""

from __future__ import annotations

import pandas as pd

from ovsslib.datasets import LAYOUTS
from ovsslib.protocols.protocol import PROTOCOLS, Protocol
from ovsslib.protocols.windows import Window

ORDER: tuple[str, ...] = ("pnp", "pnp-fixed", "tcl", "sclip")
_NONE = "–"


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, without a line break at its end."""
    table = pd.DataFrame(rows, columns=head)
    # numbers stay as they are written
    return table.to_markdown(index=False, disable_numparse=True, stralign="left")


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:g}"


def _seen(window: Window | None) -> str:
    """How a method sees an image."""
    if window is None:
        return "squashed to a square"
    if window.crop is None:
        return f"whole, shorter side {window.short}"
    return f"shorter side {window.short}, windows of {window.crop} every {window.stride} pixels"


def rules() -> str:
    """Markdown: what each protocol decides, one column per protocol.

    Example:
        >>> rules().splitlines()[0].split()
        ['|', '|', '`pnp`', '|', '`pnp-fixed`', '|', '`tcl`', '|', '`sclip`', '|']
    """
    kinds = {"count": "scores 0", "drop": "left out"}
    scored = {"classes": "where it is a class", "all": "always"}
    empty = {"nothing": "none is looked for", "first": "the first is looked for"}
    filters = {None: "any", "all": "`all`"}

    def names(protocol: Protocol) -> str:
        files = [
            value for _, fields in protocol.variants for key, value in fields if key == "names"
        ]
        return "source's own" if files else "data set's"

    rows = (
        ("the method sees an image", lambda p: _seen(p.window)),
        ("void (255)", lambda p: "background" if p.void == "background" else "not scored"),
        ("label 0 counts in the mean", lambda p: scored[p.scored]),
        ("a class predicted, but true nowhere", lambda p: kinds[p.absent]),
        ("no class recognised", lambda p: empty[p.no_class]),
        ("names", names),
        ("sentences (CLIP methods)", lambda p: str(len(p.template_list()) or _NONE)),
        ("softmax scale", lambda p: _number(p.logit_scale)),
        ("constant background plane", lambda p: _number(p.background_plane)),
        (
            "filter of the published figures",
            lambda p: filters.get(p.usual_filter, "GPT-4o, recorded"),
        ),
    )
    protocols = [PROTOCOLS[name] for name in ORDER]
    head = ["", *(f"`{protocol.name}`" for protocol in protocols)]
    return _table(head, [[title, *map(cell, protocols)] for title, cell in rows])


def labels() -> str:
    """Markdown: per data set, how many labels the mean is over, and PnP-OVSS's background plane."""
    always = {"always": "always", "few": "below 3 classes"}
    rows = []
    for name, layout in LAYOUTS.items():
        here = [PROTOCOLS[protocol].resolved(name) for protocol in ORDER]
        counts = [str(len(p.scored_classes(layout))) for p in here]  # type: ignore[arg-type]
        plane = [always[p.background(layout)] for p in here[:2]]  # type: ignore[arg-type]
        rows.append([f"`{name}`", counts[0], counts[1], *plane])
    head = ["data set", "labels: `pnp`", "others", "plane: `pnp`", "others"]
    return _table(head, rows)


def sclip() -> str:
    """Markdown: the values of `sclip` per data set."""
    rows = []
    for name, layout in LAYOUTS.items():
        own = PROTOCOLS["sclip"].resolved(name)
        labels, _ = own.expand(layout, range(1, len(layout.classes) + 1))  # type: ignore[arg-type]
        values = [_number(value) for value in (own.logit_scale, own.prob_thd, own.area_thd)]
        window = own.window or Window(1, None, 1)
        counts = [str(len(labels) - labels.count(0)), str(labels.count(0) or _NONE)]
        rows.append([f"`{name}`", str(window.short), *counts, *values])
    head = ["data set", "shorter side", "names of classes", "of background", "scale"]
    return _table([*head, "`prob_thd`", "`area_thd`"], rows)
