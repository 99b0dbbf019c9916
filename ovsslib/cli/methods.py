"""`ovss methods`: what can segment here, what it was trained with, and whose it is."""

from __future__ import annotations

import dataclasses
import json

import typer

from ovsslib.cli._common import new_app

app = new_app()

HEADS = ("method", "supervision", "default model", "paper")


@app.command()
def methods(
    *,
    as_json: bool = typer.Option(
        False, "--json", help="Print everything that is known, with licences of weights, as JSON."
    ),
) -> None:
    r"""List the methods: the supervision behind each, the model it takes by default, and the paper.

    Places in tables are given only among methods of one supervision. Nothing is loaded.

    \b
    Examples:
      ovss methods
      ovss methods --json
    """
    from ovsslib.methods import METHODS, SUPERVISION, default_model, records

    found = [record for name, record in records().items() if name in METHODS]
    if as_json:
        lines = [dataclasses.asdict(r) | {"model": default_model(r.method)} for r in found]
        typer.echo(json.dumps(lines, indent=2, ensure_ascii=False))
        return
    rows = [HEADS]
    rows += [(r.method, r.supervision, default_model(r.method), r.reference) for r in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())
    typer.echo("\nSupervision:")
    for name in SUPERVISION:
        if any(record.supervision == name for record in found):
            typer.echo(f"  {name}: {SUPERVISION[name]}")
