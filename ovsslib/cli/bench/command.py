"""`ovss bench`: how fast the stages are, how much memory they take, and what engines cost."""

from __future__ import annotations

from pathlib import Path

import typer

from ovsslib.bench.tables import (
    batches_text,
    dask_text,
    evaluation_text,
    refine_text,
    versus_text,
)
from ovsslib.cli._common import debugging, new_app, note, numbers, plain_output, sizes_of
from ovsslib.cli.bench.peers import peers
from ovsslib.cli.bench.pipeline import pipeline
from ovsslib.cli.bench.training import training
from ovsslib.cli.bench.tuning import OUT, finish, tuning

AS_JSON = typer.Option(False, "--json", help="Print the results file instead of text.")
DEVICE = typer.Option(None, help="Such as cpu or cuda:0; without it, the best.")
THREADS = typer.Option(
    None, min=1, max=1024, help="Threads of the model; without it, torch's choice."
)

app = new_app(group=True, help="Measure speed and memory on this machine.")


@app.callback()
def bench() -> None:
    r"""Measure speed and memory on this machine.

    \b
    Examples:
      ovss bench salience
      ovss bench refine
      ovss bench pipeline
      ovss bench evaluation
      ovss bench dask
      ovss bench tuning
      ovss bench peers
      ovss bench training
    """


@app.command()
def salience(
    ctx: typer.Context,
    *,
    vlm: str = typer.Option(
        "blip-large-random",
        help="BLIP model: name, folder, hub id, or blip-large-random, which needs no download.",
    ),
    image_size: int | None = typer.Option(
        None, min=1, help="Side of the model's input; without it the model's (BLIP-large: 336)."
    ),
    classes: int = typer.Option(5, min=1, help="Class names per image."),
    rounds: int = typer.Option(4, min=1, help="Rounds of Salience DropOut."),
    patches: int = typer.Option(10, min=0, help="Patches dropped after each round."),
    layer: int | None = typer.Option(
        None, min=1, help="Text layer; without it the model's (BLIP-large: 8)."
    ),
    head: int | None = typer.Option(
        None, min=0, help="Head, 0 for all; without it the model's (BLIP-large: 10)."
    ),
    batch: int = typer.Option(1, min=1, help="Images in one pass of the model."),
    images: int | None = typer.Option(None, min=1, help="Images; without it, one batch."),
    batches: str = typer.Option(
        "", help="Batch sizes such as 1,2,4: images per second of each, no comparison."
    ),
    dtype: str = typer.Option("float32", help="float32, bfloat16 or float16."),
    device: str | None = DEVICE,
    threads: int | None = THREADS,
    compiled: bool = typer.Option(False, "--compile", help="torch.compile the image encoder."),
    repeat: int = typer.Option(3, min=1, help="Timed turns; the median counts."),
    tolerance: float | None = typer.Option(
        None, min=0, help="Largest difference of the maps, relative to their largest value."
    ),
    memory: bool = typer.Option(True, help="Measure peak memory, each way in its own process."),
    matmul_size: int | None = typer.Option(
        None, min=1, help="Side of the matrices whose product is timed."
    ),
    out: Path | None = OUT,
    as_json: bool = AS_JSON,
) -> None:
    r"""Salience with dropout (Steps 2 to 4) against code that differentiates everything.

    Both run on the same weights and synthetic images, the latter always in float32. Their maps must
    agree, else the exit status is 1. With --batches the comparison is left out.

    \b
    Examples:
      ovss bench salience --out data/benchmarks
      ovss bench salience --dtype bfloat16 --classes 20 --repeat 5
      ovss bench salience --vlm micro-blip --rounds 2 --json
      ovss bench salience --device cuda --dtype bfloat16 --batches 1,8,64,256
    """
    with plain_output(debug=debugging(ctx)):
        sizes = numbers(batches, "--batches", least=1)
        from ovsslib.bench.case import Spec
        from ovsslib.bench.salience import sweep, versus

        spec = Spec(
            vlm=vlm,
            image_size=image_size,
            classes=classes,
            rounds=rounds,
            patches=patches,
            layer=layer,
            head=head,
            batch=batch,
            images=images,
            dtype=dtype,
            compiled=compiled,
            device=device,
            threads=threads,
        )
        if sizes:
            record = sweep(spec, sizes, repeats=repeat, matmul_size=matmul_size)
        else:
            record = versus(
                spec, repeats=repeat, tolerance=tolerance, memory=memory, matmul_size=matmul_size
            )
    finish(record, batches_text(record) if sizes else versus_text(record), out, as_json=as_json)
    if not record.get("agreement", {}).get("agree", True):
        note("error: the maps do not agree with those of the whole graph")
        raise typer.Exit(1)


@app.command()
def refine(
    ctx: typer.Context,
    *,
    size: str = typer.Option("500x375", help="Sizes of images, such as 500x375,640x480."),
    classes: str = typer.Option("5", help="Class names per image, such as 1,5,20."),
    images: int = typer.Option(8, min=1, help="Images per measurement."),
    refine_workers: str = typer.Option(
        "0,1,2", help="Numbers of refinement processes; empty leaves the pipeline out."
    ),
    vlm: str = typer.Option("micro-blip", help="Model of the pipeline: name, folder or hub id."),
    batch: int = typer.Option(4, min=1, help="Images in one pass of the model."),
    device: str | None = DEVICE,
    threads: int | None = THREADS,
    out: Path | None = OUT,
    as_json: bool = AS_JSON,
) -> None:
    r"""Refinement (Step 5) stage by stage, and the pipeline with refinement beside the model.

    The pipeline segments Diorama's images. Labels must not depend on the number of processes,
    else the exit status is 1.

    \b
    Examples:
      ovss bench refine --out data/benchmarks
      ovss bench refine --size 500x375,640x480 --classes 1,5,20 --refine-workers ''
      ovss bench refine --images 40 --refine-workers 0,1 --threads 1
    """
    with plain_output(debug=debugging(ctx)):
        sides, counts = sizes_of(size), numbers(classes, "--classes", least=1)
        processes = numbers(refine_workers, "--refine-workers", least=0)
        from ovsslib.bench import refine as library

        streams = None
        if processes:
            streams = library.pipeline(
                vlm, processes, images, batch=batch, device=device, threads=threads
            )
        record = library.record(sides, counts, images, streams)
    finish(record, refine_text(record), out, as_json=as_json)
    if streams is not None and not streams["same_labels"]:
        note("error: the labels depend on the number of processes")
        raise typer.Exit(1)


@app.command()
def evaluation(
    ctx: typer.Context,
    *,
    images: int = typer.Option(5000, min=1, help="Images."),
    width: int = typer.Option(500, min=1, max=65_500, help="Of the images, in pixels."),
    height: int = typer.Option(375, min=1, max=65_500, help="Of the images, in pixels."),
    classes: int = typer.Option(171, min=1, max=171, help="Labels that occur."),
    out: Path | None = OUT,
    as_json: bool = AS_JSON,
) -> None:
    r"""Evaluation without a model: reading and counting synthetic files, and its memory.

    Files in COCO-Stuff's layout are written to a temporary folder first. The counts must be those
    of the images as they were drawn, else the exit status is 1.

    \b
    Examples:
      ovss bench evaluation --out data/benchmarks
      ovss bench evaluation --images 1000 --width 640 --height 480
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.bench import counting as library

        record = library.evaluation(images, (width, height), classes)
    finish(record, evaluation_text(record), out, as_json=as_json)
    if not record["counts_agree"]:
        note("error: the counts are not those of the images as they were drawn")
        raise typer.Exit(1)


@app.command()
def dask(
    ctx: typer.Context,
    *,
    shards: int = typer.Option(5000, min=2, help="Dry shards on Dask."),
    workers: int = typer.Option(
        2, min=1, max=1024, help="Processes of Dask on this machine, and of a pool."
    ),
    out: Path | None = OUT,
    as_json: bool = AS_JSON,
) -> None:
    r"""What Dask adds to each shard: dry shards that do nothing, or only write their file.

    Compared with a pool of processes and with this process, on 500 shards at most. Each shard must
    be done once, else the exit status is 1.

    \b
    Examples:
      ovss bench dask --out data/benchmarks
      ovss bench dask --shards 200 --json
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.bench.engines import overhead

        record = overhead(shards, workers)
    finish(record, dask_text(record), out, as_json=as_json)
    if not record["complete"]:
        note("error: a shard was lost, or done twice")
        raise typer.Exit(1)


app.command()(pipeline)
app.command()(tuning)
app.command()(peers)
app.command()(training)
