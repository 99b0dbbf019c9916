"""`ovss bench pipeline`."""

from __future__ import annotations

from pathlib import Path

import typer

from ovsslib.bench.tables import pipeline_text
from ovsslib.cli._common import debugging, note, numbers, plain_output, sizes_of, split_names
from ovsslib.cli.bench.tuning import OUT, finish


def pipeline(
    ctx: typer.Context,
    *,
    vlm: str = typer.Option(
        "micro-blip",
        help="Model: name, folder, hub id, or blip-large-random, which needs no download.",
    ),
    batches: str = typer.Option("1,8", help="Images in one pass of the model, such as 1,8,32."),
    classes: str = typer.Option("1,5,20", help="Class names per image, such as 1,5,20."),
    size: str = typer.Option("500x375", help="Sizes of images, such as 500x375,640x480."),
    crf: str = typer.Option("pydensecrf,torch", help="Backends of the CRF."),
    images: int | None = typer.Option(
        None, min=1, help="Images, rounded up to whole batches; without it, one batch."
    ),
    refine_workers: int = typer.Option(
        0, min=0, max=1024, help="Processes that refine beside a model on the CPU, or pydensecrf."
    ),
    dtype: str = typer.Option("float32", help="float32, bfloat16 or float16."),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
    threads: int | None = typer.Option(
        None, min=1, max=1024, help="Threads of the model; without it, torch's choice."
    ),
    repeat: int = typer.Option(3, min=1, help="Timed turns; the median counts."),
    out: Path | None = OUT,
    as_json: bool = typer.Option(False, "--json", help="Print the results file instead of text."),
) -> None:
    r"""Images per second of salience alone and of the whole pipeline: what refinement costs.

    On synthetic images. With torch on a GPU, refinement runs there, batch by batch. Both backends
    of the CRF must label 99.95 % of the pixels alike, else the exit status is 1.

    \b
    Examples:
      ovss bench pipeline --out data/benchmarks
      ovss bench pipeline --vlm blip-large-random --batches 1 --classes 5 --images 4 \
          --crf pydensecrf --refine-workers 1 --threads 1
      ovss bench pipeline --vlm blip-large-random --device cuda --dtype bfloat16 --batches 1,32
    """
    with plain_output(debug=debugging(ctx)):
        many, counts = (
            numbers(text, option, least=1)
            for text, option in ((batches, "--batches"), (classes, "--classes"))
        )
        sides = sizes_of(size)
        from ovsslib.bench.case import Spec
        from ovsslib.bench.pipeline import ALIKE
        from ovsslib.bench.pipeline import pipeline as measure

        spec = Spec(vlm=vlm, images=images, dtype=dtype, device=device, threads=threads)
        backends = split_names(crf)
        record = measure(
            spec, many, counts, sides, backends=backends, refiners=refine_workers, repeats=repeat
        )
    finish(record, pipeline_text(record), out, as_json=as_json)
    if any(row.get("alike", 1) < ALIKE for row in record["rows"]):
        note("error: the backends of the CRF do not label the same pixels alike")
        raise typer.Exit(1)
