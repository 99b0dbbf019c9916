"""`ovss bench peers`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import typer

from ovsslib.bench.tables import peers_text
from ovsslib.cli._common import debugging, note, plain_output, progress, split_names
from ovsslib.cli.bench.tuning import OUT, finish, store


def peers(
    ctx: typer.Context,
    *,
    methods: str = typer.Option(
        "", help="Methods such as pnp-ovss,naclip; without it, all whose models are here."
    ),
    vlm: str | None = typer.Option(
        None, help="Model of all of them: name, folder or hub id; without it, each one's own."
    ),
    random: bool = typer.Option(
        False, "--random", help="Models of published size with random weights (no download)."
    ),
    images: int = typer.Option(8, min=1, help="Images of Diorama."),
    batch: int = typer.Option(4, min=1, help="Images in one call of a method."),
    classes: str = typer.Option(
        "all", help="Class names of an image: all of the data set, or those present in it."
    ),
    repeat: int = typer.Option(3, min=1, help="Timed turns; the median counts."),
    memory: bool = typer.Option(
        True, help="Measure peak memory: each method runs in its own process."
    ),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
    threads: int | None = typer.Option(
        None, min=1, max=1024, help="Threads; without it, torch's choice."
    ),
    out: Path | None = OUT,
    as_json: bool = typer.Option(False, "--json", help="Print the results file instead of text."),
) -> None:
    r"""Every segmentation method's time, memory and parameters, on the same images.

    A method whose model is not on this machine is left out, with the reason; where it was named,
    the exit status is 1. Labels must not depend on the batch, else the exit status is 1. With
    --random the methods are PnP-OVSS, those on a CLIP (without ReCo) and those of the hub.

    \b
    Examples:
      ovss bench peers --out data/benchmarks
      ovss bench peers --methods pnp-ovss,naclip,sclip --classes present --json
      ovss bench peers --random --methods siglip2,sam3 --images 1 --repeat 1
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.bench.peers import ALIKE, Spec
        from ovsslib.bench.peers import peers as measure

        named = split_names(methods)
        spec = Spec(
            vlm=vlm,
            random=random,
            images=images,
            batch=batch,
            classes=classes,  # type: ignore[arg-type]
            repeat=repeat,
            memory=memory,
            device=device,
            threads=threads,
        )
        keep = partial(store, out=out) if out is not None else None
        record = measure(spec, named, progress, keep)
    finish(record, peers_text(record), out, as_json=as_json)
    faults = [
        f"the labels of {row['method']} depend on the batch: "
        f"{100 * row['labels']:.3f} % of pixels are alike"
        for row in record["rows"]
        if row["labels"] < ALIKE
    ]
    faults += [f"{name}: {record['missing'][name]}" for name in named if name in record["missing"]]
    if not record["rows"] and not named:
        faults.append("no method could be measured")
    for fault in faults:
        note(f"error: {fault}")
    if faults:
        raise typer.Exit(1)
