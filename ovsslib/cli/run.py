"""`ovss run`: a method on a data set under a named protocol."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ovsslib.cli._common import debugging, new_app, note, plain_output, progress, settings

if TYPE_CHECKING:
    from ovsslib.evaluate.result import RunResult

app = new_app()


@app.command()
def run(
    ctx: typer.Context,
    *,
    method: str = typer.Option("pnp-ovss", help="Segmentation method."),
    dataset: str = typer.Option("diorama", help="Data set: see ovss data list."),
    split: str = typer.Option("val", help="Split of the data set."),
    root: Path | None = typer.Option(
        None, help="Its folder; without it $OVSS_DATA, and for diorama the shipped images."
    ),
    protocol: str = typer.Option("pnp-fixed", help="Evaluation protocol."),
    class_filter: str = typer.Option(
        "oracle",
        "--filter",
        help="Classes looked for: oracle (those in the image), all, recorded:FILE, clip, vlm or "
        "gpt4o.",
    ),
    filter_change: list[str] = typer.Option(
        [],
        "--filter-set",
        metavar="KEY=VALUE",
        help="Change one setting of the filter, such as --filter-set threshold=0.5.",
    ),
    vlm: str | None = typer.Option(
        None, help="Model: name, folder or hub id; without it, the method's own."
    ),
    preset: str | None = typer.Option(
        None, help="Named settings; without it, those made for the model."
    ),
    change: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change one setting, such as --set crf=false."
    ),
    vocabulary: Path | None = typer.Option(
        None, metavar="FILE", help="Other names for classes, and distractors: see the book."
    ),
    dtype: str | None = typer.Option(None, help="float32 (without it), bfloat16 or float16."),
    limit: int | None = typer.Option(None, min=1, help="Only the first N images."),
    batch: int = typer.Option(8, min=1, help="Images in one pass of the model."),
    workers: int = typer.Option(
        0,
        min=0,
        max=1024,
        help="Processes that share the images, each with the model; 0: this one alone.",
    ),
    refine_workers: int = typer.Option(
        0, min=0, max=1024, help="Processes for refinement beside each model."
    ),
    dask: str | None = typer.Option(
        None, metavar="ADDRESS", help="Dask scheduler such as tcp://host:8786, or local."
    ),
    dask_slurm: Path | None = typer.Option(
        None, metavar="PROFILE", help="YAML file: --workers SLURM jobs, see the book's Scale page."
    ),
    shard_size: int = typer.Option(32, min=1, help="Images computed and stored together."),
    fresh: bool = typer.Option(False, "--fresh", help="Compute stored shards again."),
    allow_bad: int = typer.Option(0, min=0, help="Accept so many unreadable images."),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
    download: bool = typer.Option(
        False, "--download", help="Fetch the method's and the filter's models if they are not here."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the results file instead of text."),
    out: Path = typer.Option(
        Path("ovss-results"), "--out", "-o", envvar="OVSS_RESULTS", help="Folder for the results."
    ),
) -> None:
    r"""Measure a method on a data set: mean IoU with a 95 % bootstrap interval over images.

    Writes <name>.json and tables of classes, images and confusions as Parquet. An image that
    cannot be read is reported, the rest is measured, and the exit status is 1. What is done is kept
    in shards: after an interruption the same command continues.

    \b
    Examples:
      ovss run --dataset diorama --filter oracle --limit 20
      ovss run --dataset diorama --filter all --set crf=false --json
      ovss run --filter vlm --filter-set threshold=0.5
      ovss run --filter all --vocabulary synonyms.txt
      ovss run --dataset voc21 --root VOCdevkit/VOC2012 --vlm Salesforce/blip-itm-large-flickr
      ovss run --method naclip --vlm ViT-B-16-quickgelu:openai --filter all --download
      ovss run --dataset coco-stuff --filter all --workers 8 --refine-workers 4
      ovss run --dataset coco-stuff --filter all --dask-slurm slurm.yml --workers 64
    """
    from ovsslib.io.files import check_folder

    with plain_output(debug=debugging(ctx)):
        check_folder(out)
        from ovsslib.evaluate.engines import Engine
        from ovsslib.evaluate.result import save, to_dict
        from ovsslib.evaluate.resume import run_sharded
        from ovsslib.evaluate.spec import Execution, RunSpec
        from ovsslib.io.json import dumps
        from ovsslib.protocols.vocabulary import read_vocabulary

        spec = RunSpec(
            method=method,
            vlm=vlm or "",
            preset=preset,
            config=settings(change),
            dataset=dataset,
            split=split,
            protocol=protocol,
            filter=class_filter,
            dtype=dtype,
            limit=limit,
            filter_settings=settings(filter_change, "--filter-set"),
            vocabulary={"name": vocabulary.stem, "names": read_vocabulary(vocabulary)}
            if vocabulary
            else {},
        )
        how = Execution(batch, refine_workers, device, root, progress, download=download)
        engine = Engine(workers, dask, dask_slurm)
        try:
            result = run_sharded(
                {"run": spec}, out / "shards", how, engine, size=shard_size, fresh=fresh, tell=note
            )["run"]
        except KeyboardInterrupt:
            note("interrupted; what is done is kept, the same command continues")
            raise typer.Exit(130) from None
        result = dataclasses.replace(result, allowed_bad=allow_bad)
        stored = save(result, out)
        record = to_dict(result)
    typer.echo(dumps(record).rstrip() if as_json else text(result, record["metrics"]))
    if not as_json:
        typer.echo(f"written: {stored}")
    accepted = len(result.failed) <= allow_bad
    for name, reason in result.failed.items():
        note(f"{'accepted' if accepted else 'error'}: {name}: {reason}")
    if not accepted:
        raise typer.Exit(1)


def text(result: RunResult, metrics: dict[str, Any]) -> str:
    """The figures of a run as a few lines, in percent.

    Args:
        result: The run.
        metrics: `ovsslib.evaluate.result.figures` of it.
    """

    def percent(value: float | None) -> str:
        return "    -" if value is None else f"{100 * value:5.1f}"

    lines = [
        f"{result.method} with {result.vlm} on {result.dataset} {result.split} "
        f"({len(result.ids)} of {result.expected} images, protocol {result.protocol['name']}, "
        f"filter {result.filter}, config {result.config_hash})"
    ]
    titles = {"miou": "mIoU", "miou_things": "mIoU things", "miou_stuff": "mIoU stuff"}
    for key, title in titles.items():
        if key in metrics:
            interval = metrics[key]
            span = f"[{percent(interval['low']).strip()}, {percent(interval['high']).strip()}]"
            lines.append(f"  {title:<16}{percent(interval['value'])}  {span}")
    if "boundary_miou" in metrics:
        lines.append(f"  {'boundary mIoU':<16}{percent(metrics['boundary_miou'])}")
    lines.append(f"  {'background IoU':<16}{percent(metrics['iou_background'])}")
    lines.append(f"  {'pixel accuracy':<16}{percent(metrics['pixel_accuracy'])}")
    width = max(map(len, result.classes))
    lines.append(f"  {'class':<{width}}    IoU  prec.  recall")
    for name, row in metrics["classes"].items():
        cells = "  ".join(percent(row[key]) for key in ("iou", "precision", "recall"))
        lines.append(f"  {name:<{width}}  {cells}")
    return "\n".join(lines)
