"""`ovss regress`: recompute the stored figures and compare."""

from __future__ import annotations

from pathlib import Path

import typer

from ovsslib.cli._common import debugging, new_app, note, plain_output, progress
from ovsslib.paths import data

app = new_app()
EXPECTED = data("expected", "diorama.json")


@app.command()
def regress(
    ctx: typer.Context,
    *,
    expected: Path = typer.Option(
        EXPECTED, help="File of expected figures; without it, those of Diorama.", show_default=False
    ),
    update: bool = typer.Option(
        False, "--update", help="Write the measured figures into the file; tolerances stay."
    ),
    root: Path | None = typer.Option(None, help="Folder of the data set, if it is not the usual."),
    batch: int = typer.Option(8, min=1, help="Images in one pass of the model."),
    refine_workers: int = typer.Option(
        0, min=0, max=1024, help="Processes for refinement beside the model."
    ),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
) -> None:
    r"""Recompute stored figures and compare them within their tolerances.

    The exit status is 1 when a figure has drifted, and 2 when the file is missing or wrong.

    \b
    Examples:
      ovss regress
      ovss regress --expected my-figures.json
      ovss regress --update        # after a change that is meant to change figures
    """
    from ovsslib.evaluate import regress as library
    from ovsslib.io.files import check_file

    runs = library.read_expected(expected)
    if update:
        check_file(expected)
    with plain_output(debug=debugging(ctx)):
        from ovsslib.evaluate import run as benchmark
        from ovsslib.evaluate.spec import Execution

        how = Execution(batch, refine_workers, device, root, progress)
        results = benchmark.run_many({item.name: item.run for item in runs}, how)
        report = library.check(runs, lambda item: results[item.name])
    typer.echo(library.table(report))
    for name, reason in report.failed.items():
        note(f"error: {name}: {reason}")
    if update:
        typer.echo(f"updated: {library.update(expected, report)}")
    elif not report.ok:
        drifted = sum(not item.ok for item in report.checks)
        note(f"error: {drifted} of {len(report.checks)} figures are not as expected")
        raise typer.Exit(1)
