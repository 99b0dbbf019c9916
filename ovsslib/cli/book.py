"""`ovss book`: run the notebooks, build the pages."""

from __future__ import annotations

import typer

from ovsslib.cli._common import new_app, settings, split_names
from ovsslib.errors import OvssError
from ovsslib.paths import checkout

app = new_app()


@app.command()
def book(
    only: str = typer.Option("", metavar="01,02", help="Run these notebooks again, not all."),
    parameter: list[str] = typer.Option(
        [], "-p", "--parameter", metavar="NAME=VALUE", help="A parameter of the notebooks."
    ),
    jobs: int = typer.Option(
        2, min=1, max=1024, help="Notebooks that run at a time, one thread each."
    ),
    skip_execute: bool = typer.Option(
        False, "--skip-execute", help="Build from the executed copies that are there."
    ),
    force: bool = typer.Option(
        False, "--force", help="Run all notebooks, not only those whose inputs changed."
    ),
    readme: bool = typer.Option(
        False,
        "--readme",
        help="Only write the tables of README and first page, and draw their image.",
    ),
) -> None:
    r"""Execute the notebooks and build the book; prints where its first page is.

    \b
    Examples:
      ovss book
      ovss book --only 02,04
      ovss book --force
      ovss book --skip-execute
    """
    root = checkout()
    if readme:
        from ovsslib.book.readme import draw, write

        typer.echo(draw(root))
        typer.echo(write(root))
        return
    if skip_execute and (only or parameter or force):
        raise OvssError(
            "--skip-execute runs nothing: leave out --only, --force and -p, or leave it out"
        )
    try:
        from ovsslib.book.build import make_book
    except ImportError as error:  # a plain installation, without the book's tools
        raise OvssError(f"{error}; install the book's tools: pip install 'ovsslib[book]'") from None
    page = make_book(
        root,
        split_names(only),
        settings(parameter),
        jobs=jobs,
        skip_execute=skip_execute,
        force=force,
        say=typer.echo,
    )
    typer.echo(f"the book: {page}")
