"""`ovss deviations`: what each departure of the released code from the paper is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ovsslib.cli._common import (
    debugging,
    new_app,
    plain_output,
    progress,
    settings,
    show_comparison,
)
from ovsslib.pnp.departures import DEVIATIONS

app = new_app()


@app.command()
def deviations(
    ctx: typer.Context,
    *,
    vlm: str = typer.Option("micro-blip", help="Vision-language model: name, folder or hub id."),
    preset: str | None = typer.Option(
        None, help="Named settings; without it, those made for the model."
    ),
    change: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change one setting, such as --set crf=false."
    ),
    dataset: str = typer.Option("diorama", help="Data set: see ovss data list."),
    split: str = typer.Option("val", help="Split of the data set."),
    root: Path | None = typer.Option(
        None, help="Its folder; without it $OVSS_DATA, and for diorama the shipped images."
    ),
    protocol: str = typer.Option("pnp-fixed", help="Evaluation protocol."),
    class_filter: str = typer.Option(
        "oracle", "--filter", help="Classes looked for: oracle (those in the image) or all."
    ),
    limit: int | None = typer.Option(None, min=1, help="Only the first N images."),
    batch: int = typer.Option(8, min=1, help="Images in one pass of the model."),
    refine_workers: int = typer.Option(
        0, min=0, max=1024, help="Processes for refinement beside the model."
    ),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
    as_json: bool = typer.Option(False, "--json", help="Print the results file instead of text."),
    out: Path = typer.Option(
        Path("ovss-results"), "--out", "-o", envvar="OVSS_RESULTS", help="Folder for the results."
    ),
) -> None:
    r"""Measure each departure of the released code from the paper, by itself and all together.

    Every difference in mean IoU is paired: both runs see the same images. Called again after it
    was broken off, it continues. The exit status is 1 when an image could not be read.

    \b
    Examples:
      ovss deviations --limit 20
      ovss deviations --refine-workers 1 --out data/results/deviations
      ovss deviations --vlm Salesforce/blip-itm-large-flickr --dataset voc --root VOC2012
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.evaluate.comparison import measure
        from ovsslib.evaluate.spec import Execution, RunSpec
        from ovsslib.pnp.departures import settings as departures

        spec = RunSpec(
            vlm=vlm,
            preset=preset,
            config=settings(change),
            dataset=dataset,
            split=split,
            protocol=protocol,
            filter=class_filter,
            limit=limit,
        )
        how = Execution(batch, refine_workers, device, root, progress)
        path, record = measure(spec, departures, out, how)
    show_comparison(path, record, text(record), as_json=as_json)


def text(record: dict[str, Any]) -> str:
    """The figures as a few lines, in percent and points.

    Args:
        record: What `ovsslib.evaluate.comparison.measure` gives.
    """
    values = {
        deviation.field: f"{deviation.paper} -> {deviation.released}" for deviation in DEVIATIONS
    }
    lines = [
        f"{record['vlm']} on {record['dataset']} {record['split']} ({record['images']} images, "
        f"protocol {record['protocol']['name']}, filter {record['filter']})",
        f"  {'setting':<17}{'paper -> released':<20}{'mIoU':>6}  {'difference':>10}  "
        f"{'95 % interval':<16}  images",
    ]
    for name, run in record["runs"].items():
        difference = run["difference"]
        span = f"[{100 * difference['low']:.2f}, {100 * difference['high']:.2f}]"
        lines.append(
            f"  {name:<17}{values.get(name, ''):<20}{100 * run['miou']['value']:6.2f}  "
            f"{100 * difference['value']:+10.2f}  {span:<16}  {run['pictures_changed']:8d}"
        )
    return "\n".join(lines)
