"""`ovss bench training`."""

from __future__ import annotations

from pathlib import Path

import typer

from ovsslib.bench.tables import training_text
from ovsslib.cli._common import debugging, plain_output, progress, split_names
from ovsslib.cli.bench.tuning import OUT, finish


def training(
    ctx: typer.Context,
    *,
    models: str = typer.Option(
        "",
        help="What to train, such as micro-tcl or 'micro-tcl --recipe no-area', with commas "
        "between; without it, all systems.",
    ),
    batch: int | None = typer.Option(
        None, min=1, help="Images in a step; without it, as in training."
    ),
    threads: int | None = typer.Option(
        None, min=1, max=1024, help="Threads; without it, torch's choice."
    ),
    out: Path | None = OUT,
    as_json: bool = typer.Option(False, "--json", help="Print the results file instead of text."),
) -> None:
    r"""A training step of every system: seconds, and the share of the machine's matmul rate.

    \b
    Examples:
      ovss bench training --out data/benchmarks
      ovss bench training --models micro-clippy,micro-tcl --threads 2
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.bench.training import training as measure

        record = measure(split_names(models), batch=batch, threads=threads, progress=progress)
    finish(record, training_text(record), out, as_json=as_json)
