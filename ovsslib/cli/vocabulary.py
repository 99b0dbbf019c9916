"""`ovss vocabulary`: how much of a figure is the vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ovsslib.cli._common import (
    debugging,
    fractions,
    new_app,
    numbers,
    plain_output,
    progress,
    settings,
    show_comparison,
    split_names,
)

app = new_app()


@app.command()
def vocabulary(
    ctx: typer.Context,
    *,
    method: str = typer.Option("pnp-ovss", help="Segmentation method."),
    vlm: str | None = typer.Option(
        None, help="Its model: name, folder or hub id; without it, the method's usual one."
    ),
    preset: str | None = typer.Option(
        None, help="Named settings; without it, those made for the model."
    ),
    change: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change one setting, such as --set crf=false."
    ),
    dataset: str = typer.Option("diorama", help="Data set: see ovss data list."),
    split: str = typer.Option("val", help="Split of the data set."),
    root: Path | None = typer.Option(None, help="Its folder; without it $OVSS_DATA."),
    protocol: str = typer.Option("pnp-fixed", help="Evaluation protocol."),
    class_filter: str = typer.Option(
        "oracle", "--filter", help="Classes looked for: oracle (those in the image), all, …"
    ),
    conditions: str = typer.Option(
        "", metavar="NAMES", help="Such as synonym,near; without it, all that the words allow."
    ),
    shares: str = typer.Option("", help="Of the classes to rename; else 0.25,0.5,1."),
    counts: str = typer.Option("", help="Numbers of distractors; else 10,50,200."),
    draws: int = typer.Option(5, min=1, help="Vocabularies for each condition and amount."),
    seed: int = typer.Option(0, min=0, max=2**32 - 1, help="Of all draws."),
    words: Path | None = typer.Option(
        None, metavar="FOLDER", help="Lists of other words: see the book; Diorama has its own."
    ),
    limit: int | None = typer.Option(None, min=1, help="Only the first N images."),
    batch: int = typer.Option(8, min=1, help="Images in one pass of the model."),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
    as_json: bool = typer.Option(False, "--json", help="Print the results file instead of text."),
    out: Path = typer.Option(
        Path("ovss-results"), "--out", "-o", envvar="OVSS_RESULTS", help="Folder for the results."
    ),
) -> None:
    r"""Measure a method under many vocabularies: other names for the classes, and distractors.

    Every figure is given under both rules for classes without ground truth, with intervals over
    images and over draws; three rows say where the error is. Called again after it was broken
    off, it continues. The exit status is 1 when an image could not be read.

    \b
    Examples:
      ovss vocabulary --method maskclip --filter all --limit 20
      ovss vocabulary --conditions synonym,near --shares 0.5,1 --counts 20 --draws 3
      ovss vocabulary --method sclip --vlm openai/clip-vit-base-patch16 --dataset voc21 \
          --protocol sclip --filter all --words my-words
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.evaluate.spec import Execution, RunSpec
        from ovsslib.evaluate.stress import measure
        from ovsslib.evaluate.stress_cases import Stress

        default = Stress()
        stress = Stress(
            conditions=tuple(split_names(conditions)),
            shares=fractions(shares, "--shares") or default.shares,
            counts=tuple(numbers(counts, "--counts", least=1)) or default.counts,
            draws=draws,
            seed=seed,
        )
        spec = RunSpec(
            method=method,
            vlm=vlm or "",
            preset=preset,
            config=settings(change),
            dataset=dataset,
            split=split,
            protocol=protocol,
            filter=class_filter,
            limit=limit,
        )
        how = Execution(batch=batch, device=device, root=root, progress=progress)
        path, record = measure(spec, stress, out, how, words)
    show_comparison(path, record, text(record), as_json=as_json)


def text(record: dict[str, Any]) -> str:
    """The figures as a few lines, in percent and points.

    Args:
        record: What `ovsslib.evaluate.stress.measure` gives.
    """
    lines = [
        f"{record['method']} with {record['vlm']} on {record['dataset']} {record['split']} "
        f"({record['images']} images, protocol {record['protocol']['name']}, filter "
        f"{record['filter']})",
        f"  {'':<18}  {'absent classes count':<32}absent classes dropped",
        (f"  {'names':<12}{'amount':>6}  " + 2 * f"{' mIoU':>5}  {'difference':<25}").rstrip(),
    ]
    for row in record["curves"]:
        amount = "" if row["amount"] is None else f"{row['amount']:g}"
        cells = "".join(_cell(row[rule]) for rule in ("count", "drop"))
        lines.append(f"  {row['condition']:<12}{amount:>6}  {cells}".rstrip())
    lines.append(f"  {'one answer, scored':<20}{'mIoU':>5}  object pixels called background")
    for name, row in record["oracles"].items():
        lost = row["background"]["value"]
        lines.append(f"  {name:<20}{100 * row['count']['value']:5.1f}  {100 * lost:5.1f} %")
    return "\n".join(lines)


def _cell(figure: dict[str, Any]) -> str:
    """A mean, and its difference to plain names with the interval."""
    gap = {key: 100 * value for key, value in figure["difference"].items()}
    span = f"{gap['value']:+6.1f} [{gap['low']:+.1f}, {gap['high']:+.1f}]"
    return f"{100 * figure['value']:5.1f}  {span:<25}"
