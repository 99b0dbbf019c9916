"""The place of a figure among those that can be compared with it, and with no other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

from ovsslib.reports.published import OWN, Figure


def places(figures: Sequence[Figure]) -> list[tuple[int, int] | None]:
    """Rank figures of like kind, data, metric, supervision, class filter and protocol.

    Args:
        figures: Measured and published ones, of one metric or several.

    Returns:
        For each figure its place, counted from 1, and the number of figures it is ranked among;
        None for one that cannot be ranked (see `comparable`) or has none to be ranked with. Equal
        values share the better place.

    Example:
        >>> from ovsslib.reports.published import load_published
        >>> paper = [f for f in load_published() if f.system == "PnP-OVSS" and f.dataset == "voc21"]
        >>> [(figure.text, place) for figure, place in zip(paper, places(paper))]
        [('46.3', (2, 3)), ('51.3', (1, 3)), ('42.4', (3, 3))]
    """
    groups: dict[Hashable, list[float]] = defaultdict(list)
    keys = [comparable(figure) for figure in figures]
    for key, figure in zip(keys, figures, strict=True):
        groups[key].append(figure.value)
    found: list[tuple[int, int] | None] = []
    for key, figure in zip(keys, figures, strict=True):
        values = groups[key]
        alone = key is None or len(values) == 1
        place = 1 + sum(value > figure.value for value in values)
        found.append(None if alone else (place, len(values)))
    return found


def comparable(figure: Figure) -> Hashable | None:
    """What two figures must share to be ranked together.

    Returns:
        A key; None where nothing can be said: the value is not defined, nobody has checked it, the
        supervision is not known, or the protocol is one of the source's own without details.
    """
    unsure = math.isnan(figure.value) or not figure.verified or not figure.supervision
    if unsure or figure.protocol == OWN:
        return None
    rules = (figure.supervision, figure.filter, figure.protocol)
    data = (figure.dataset, figure.split, figure.metric, figure.images, figure.limit)
    return (figure.kind, *rules, *data)
