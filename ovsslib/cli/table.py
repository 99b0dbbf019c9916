"""`ovss table`: stored results beside the published figures."""

from __future__ import annotations

from pathlib import Path

import typer

from ovsslib.cli._common import new_app

app = new_app()

FORMATS = ("markdown", "csv", "html")


@app.command()
def table(
    folders: list[Path] = typer.Argument(
        None,
        metavar="[FOLDER]...",
        help="Folders with results of ovss run; without one, $OVSS_RESULTS or ovss-results, and "
        "where that is missing the results shipped with the checkout.",
    ),
    *,
    published: bool = typer.Option(True, help="Show published figures in a block of their own."),
    unverified: bool = typer.Option(
        False,
        "--unverified",
        help="Also published figures nobody has checked against their source.",
    ),
    dataset: list[str] = typer.Option([], help="Only this data set; may be given several times."),
    protocol: list[str] = typer.Option(
        [], help="Only this evaluation protocol; may be given several times."
    ),
    metric: str = typer.Option("miou", help="Which figure, such as miou, miou_things, iou/house."),
    form: str | None = typer.Option(
        None,
        "--format",
        help="markdown, csv (one figure per row) or html; without it, by the ending of --out.",
    ),
    out: Path | None = typer.Option(None, "--out", "-o", help="File to write instead of printing."),
) -> None:
    r"""Show all results in one table: measured runs and published figures, in separate blocks.

    Each figure is shown with its supervision, protocol, class filter and source, and with its
    place among those that share these and the data. Runs with unreadable images, or over a part of
    a split, are marked.

    \b
    Examples:
      ovss table
      ovss table my-results --dataset voc21 --no-published
      ovss table --protocol pnp --out table.html
      ovss table --metric iou/house --format csv
    """
    from ovsslib.reports.markup import html, markdown
    from ovsslib.reports.measured import default_folder, load_measured
    from ovsslib.reports.published import load_published
    from ovsslib.reports.table import build, frame, select

    form = _format(form, out)
    figures = load_measured(folders or [default_folder()], metric)
    figures += load_published() if published else []
    chosen, left_out = select(
        figures, metric=metric, datasets=dataset, protocols=protocol, unverified=unverified
    )
    if form == "csv":
        text = frame(chosen).to_csv(index=False, lineterminator="\n")
    else:
        text = (html if form == "html" else markdown)(build(chosen, left_out))
    if out is None:
        typer.echo(text, nl=False)
    else:
        from ovsslib.io.files import write_atomic

        typer.echo(f"written: {write_atomic(out, text)}")


def _format(form: str | None, out: Path | None) -> str:
    """The format by its name, or by a file's ending."""
    from ovsslib.lookup import unknown

    if form is None:
        ending = out.suffix.lower() if out is not None else ""
        return {".csv": "csv", ".html": "html", ".htm": "html"}.get(ending, "markdown")
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    return form
