"""`ovss doctor`: what is installed and found, and the command for what is missing."""

from __future__ import annotations

import itertools
import json

import typer

from ovsslib.cli._common import debugging, new_app, plain_output

app = new_app()


@app.command()
def doctor(
    ctx: typer.Context,
    *,
    as_json: bool = typer.Option(False, "--json", help="Print the rows as JSON."),
) -> None:
    r"""Packages, machine, device, checkpoints and data sets: what is here, and how to get the rest.

    Below each thing that is missing stands the command that gets it. Nothing is changed and nothing
    comes from the network. The exit status is 1 when the shipped demo (micro-blip on Diorama)
    lacks something, else 0; optional things do not count.

    \b
    Examples:
      ovss doctor
      ovss doctor --json > machine.json
      ovss doctor --json | jq -r '.rows[] | select(.state != "ok") | .command'
    """
    from ovsslib.cli.doctor.inventory import data_rows, model_rows
    from ovsslib.cli.doctor.machine import device_rows, healthy, machine_rows, package_rows

    # The device comes last: it alone imports torch.
    checks = (machine_rows, package_rows, model_rows, data_rows, device_rows)
    with plain_output(debug=debugging(ctx)):
        rows = list(itertools.chain.from_iterable(check() for check in checks))
    well = healthy(rows)
    if as_json:
        record = {"ok": well, "rows": [row.to_dict() for row in rows]}
        typer.echo(json.dumps(record, indent=1))
    else:
        width = max(len(row.name) for row in rows)
        for area, group in itertools.groupby(rows, key=lambda row: row.area):
            typer.echo(area)
            for row in group:
                typer.echo(f"  {row.state:<8}{row.name:<{width}}  {row.detail}".rstrip())
                if row.command:
                    typer.echo(f"{'':10}$ {row.command}")
        lacking = [row.name for row in rows if row.required and row.state != "ok"]
        words = f"lacks: {', '.join(lacking)}" if lacking else "has all it needs"
        typer.echo(f"The shipped demo {words}.")
    if not well:
        raise typer.Exit(1)
