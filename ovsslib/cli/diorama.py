"""`ovss diorama`: make the miniature data set."""

from __future__ import annotations

from pathlib import Path

import typer

from ovsslib.cli._common import new_app, progress

app = new_app(group=True)


@app.callback()
def group() -> None:
    """Draw images, exact masks and captions of Diorama, the miniature world."""


@app.command()
def make(
    split: str = typer.Option("val", help="val, tune, heldout, novel or train."),
    n: int = typer.Option(200, min=1, max=1_000_000, help="Number of images."),
    seed: int = typer.Option(0, min=0, max=2**32 - 1, help="Seed of the random scenes."),
    out: Path = typer.Option(Path("diorama"), help="Folder to write to."),
) -> None:
    r"""Draw a split: images, masks and captions, in Pascal VOC's directory layout.

    \b
    Examples:
      ovss diorama make --split val --n 200 --out data/diorama
      ovss diorama make --split train --n 1000 --seed 1 --out /data/diorama
    """
    from ovsslib.miniature.diorama.make import write_split

    for _ in progress(write_split(out, split, n, seed), f"drawing {split}", n):
        pass
    typer.echo(f"{n} images of split {split} are in {out}")
