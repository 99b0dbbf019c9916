"""Charts of a run, each with the words that describe it: classes, confusions, stages, images.

Matplotlib is imported when a function is called; all charts have a solid white background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.draw.plots import overlay
from ovsslib.io.palette import VOID
from ovsslib.reports import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ovsslib.evaluate.result import RunResult
    from ovsslib.reports.examples import Example

COLOURS = {"thing": "#c06040", "stuff": "#4878a8", "background": "#808080"}
"""Kind of a label -> colour of its bar."""
MOST = 40
"""Classes in one chart; of more, only the best and the worst are shown."""


def known_classes(table: Any, scored: Sequence[int]) -> Any:
    """Scored labels that occur, the best first.

    Args:
        table: `ovsslib.evaluate.result.class_table`.
        scored: Labels of the headline mIoU.

    Returns:
        DataFrame with the columns of `table`.
    """
    rows = table[table["label"].isin(list(scored)) & table["iou"].notna()]
    return rows.sort_values("iou", ascending=False, kind="stable", ignore_index=True)


def class_chart(rows: Any) -> Figure:
    """Bars of every class's IoU, sorted.

    Args:
        rows: What `known_classes` returned. Of more than `MOST` classes, the best and the worst
            are shown side by side.

    Returns:
        The figure.
    """
    from matplotlib.patches import Patch

    if len(rows) > MOST:
        half = MOST // 2
        parts = {f"the {half} best": rows.head(half), f"the {half} worst": rows.tail(half)}
    else:
        parts = {"": rows}
    longest = max((len(part) for part in parts.values()), default=0)
    figure = _figure(6.0 * len(parts), 0.24 * longest + 1.2)
    axes = np.atleast_1d(figure.subplots(1, len(parts)))
    for ax, (title, part) in zip(axes, parts.items(), strict=True):
        # Positions, not names: two classes may share a name.
        positions = np.arange(len(part))
        ax.barh(positions, 100 * part["iou"], color=[COLOURS[kind] for kind in part["kind"]])
        ax.set_yticks(positions, part["class"])
        ax.set(xlabel="IoU (%)", title=title, xlim=(0, 100))
        ax.set_ylim(len(part) - 0.4, -0.6)
    kinds = [kind for kind in COLOURS if (rows["kind"] == kind).any()]
    handles = [Patch(facecolor=COLOURS[kind], label=kind) for kind in kinds]
    axes[-1].legend(handles=handles, loc="lower right", fontsize="small")
    return figure


def alt_classes(rows: Any) -> str:
    """Alternative text of `class_chart`: the best and the worst classes in words."""

    def words(part: Any) -> str:
        pairs = zip(part["class"], part["iou"], strict=True)
        return ", ".join(f"{name} {100 * iou:.0f} %" for name, iou in pairs)

    n = min(3, len(rows) // 2)
    if n == 0:
        return f"Bars of IoU per class: {words(rows) or 'none occurs'}."
    return (
        f"Bars of the IoU of {len(rows)} classes, sorted. Highest: {words(rows.head(n))}. "
        f"Lowest: {words(rows.tail(n))}."
    )


def confusion_chart(result: RunResult, labels: Sequence[int]) -> Figure:
    """Heat map: which share of each true class's pixels got which label.

    Args:
        result: The run.
        labels: Labels to show, such as `ovsslib.reports.figures.involved` chooses.

    Returns:
        The figure; cells from 1 % hold their number, the diagonal (right pixels) is framed.
    """
    from matplotlib.patches import Rectangle

    names = figures.label_names(result)
    chosen = list(labels)
    values = 100 * figures.shares(figures.confusion(result))[np.ix_(chosen, chosen)]
    side = 0.5 * len(chosen) + 1.8
    figure = _figure(side + 0.8, side)
    ax = figure.subplots()
    drawn = ax.imshow(values, cmap="Blues", vmin=0, vmax=100)
    positions = np.arange(len(chosen))
    titles = [names[k] for k in chosen]
    ax.set_xticks(positions, titles, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(positions, titles)
    ax.set(xlabel="labelled as", ylabel="true class")
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if value >= 1:
            ink = "white" if value > 60 else "black"
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=8)
    for k in positions:
        ax.add_patch(Rectangle((k - 0.5, k - 0.5), 1, 1, fill=False, edgecolor="black", lw=0.8))
    figure.colorbar(drawn, ax=ax, label="% of the true class's pixels", shrink=0.8)
    return figure


def alt_confusions(table: Any) -> str:
    """Alternative text of `confusion_chart`: the first three pairs in words.

    Args:
        table: `ovsslib.reports.figures.pairs`.

    Returns:
        Such as `"Of the pixels of sky, 12 % are labelled as water."`
    """
    if not len(table):
        return "No pixel is labelled as another class."
    rows = table.head(3)
    words = [
        f"of the pixels of {true}, {100 * share:.0f} % are labelled as {other}"
        for true, other, share in zip(rows["true"], rows["labelled as"], rows["share"], strict=True)
    ]
    text = "; ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def stage_chart(seconds: Mapping[str, float]) -> Figure:
    """Bars of seconds per image and stage.

    Args:
        seconds: Stage -> seconds.
    """
    figure = _figure(6.0, 0.35 * len(seconds) + 1.0)
    ax = figure.subplots()
    bars = ax.barh(list(seconds), list(seconds.values()), color=COLOURS["stuff"])
    ax.bar_label(bars, fmt="%.3f", padding=3, fontsize="small")
    ax.margins(x=0.15)
    ax.invert_yaxis()
    ax.set(xlabel="seconds per image")
    return figure


def alt_stages(seconds: Mapping[str, float]) -> str:
    """Alternative text of `stage_chart`.

    Example:
        >>> alt_stages({"read": 0.01, "salience": 0.2})
        'Bars of seconds per image: read 0.010, salience 0.200.'
    """
    words = [f"{stage} {value:.3f}" for stage, value in seconds.items()]
    return f"Bars of seconds per image: {', '.join(words) or 'no stage was timed'}."


def example_chart(
    examples: Sequence[Example], titles: Sequence[str], classes: Sequence[str]
) -> Figure:
    """Images in columns: the image itself, its ground truth, and what the method predicts.

    Args:
        examples: B images with their label maps.
        titles: B titles.
        classes: C names of the data set.

    Returns:
        The figure. Legends name the largest classes of each image.
    """
    shapes = [example.image.shape for example in examples]
    tall = max((height / width for height, width, _ in shapes), default=1.0)
    figure = _figure(2.5 * max(1, len(examples)), 3 * (2.2 * min(tall, 1.5) + 0.6))
    axes = figure.subplots(3, max(1, len(examples)), squeeze=False)
    for column, (example, title) in enumerate(zip(examples, titles, strict=True)):
        axes[0, column].imshow(example.image)
        axes[0, column].set_title(title, fontsize="small")
        axes[0, column].set_axis_off()
        for ax, labels in zip(axes[1:, column], (example.truth, example.labels), strict=True):
            shown = np.where(labels == VOID, 0, labels).astype(np.int64) - 1
            overlay(example.image, shown, classes, ax=ax, most=4)
    for ax, name in zip(axes[:, 0], ("image", "ground truth", "method"), strict=True):
        _row_title(ax, name)
    return figure


def _row_title(ax: Axes, text: str) -> None:
    """Words left of axes that have no frame."""
    style: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 8}
    ax.text(-0.04, 0.5, text, transform=ax.transAxes, **style)


def _figure(width: float, height: float) -> Figure:
    """A white figure; its size is in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white", layout="constrained")
