"""`ovss localise`: which layer and head of a model attends to the objects named."""

from __future__ import annotations

from pathlib import Path

import typer

from ovsslib.cli._common import debugging, new_app, note, plain_output, progress, split_names

app = new_app()


@app.command()
def localise(
    ctx: typer.Context,
    *,
    vlm: list[str] = typer.Option(
        ["micro-blip"], help="Model: name, folder or hub id; may be given several times."
    ),
    dataset: str = typer.Option("diorama", help="Data set: see ovss data list."),
    split: str = typer.Option("tune", help="Split; not the one that results are reported on."),
    root: Path | None = typer.Option(None, help="Its folder, if it is not the usual."),
    salience: str = typer.Option(
        "attention,gradcam", help="Kinds of salience: attention, gradcam, margin."
    ),
    limit: int | None = typer.Option(None, min=1, help="Only the first N images."),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Write all rows to this CSV file."),
) -> None:
    r"""Area under the ROC curve of every layer and head: patches of a class against the others.

    0.5 is chance, 1 is perfect. It reads masks, so it is for looking at a model, for example
    at the snapshots of its training; PnP-OVSS itself picks layer and head without masks.

    \b
    Examples:
      ovss localise --limit 20
      ovss localise --vlm runs/micro-blip/snapshots/000500 --vlm runs/micro-blip/snapshots/001000
      ovss localise --vlm Salesforce/blip-itm-large-flickr --dataset voc --split train --limit 100
    """
    from ovsslib.io.files import check_file, write_atomic

    with plain_output(debug=debugging(ctx)):
        if out:
            check_file(out)
        import pandas as pd

        from ovsslib.datasets import load_dataset
        from ovsslib.evaluate.localisation import layer_head_auc
        from ovsslib.io.files import write_atomic
        from ovsslib.vlm import load_vlm

        data = load_dataset(dataset, root, split)
        tables = []
        for name in progress(vlm, "models"):
            table = layer_head_auc(
                load_vlm(name, device), data, limit=limit, salience=split_names(salience)
            )
            table.insert(0, "vlm", name)
            tables.append(table)
    rows = pd.concat(tables)
    if out:
        note(f"written: {write_atomic(out, rows.to_csv(index=False))}")
    for (name, kind), group in rows.groupby(["vlm", "salience"], sort=False):
        grid = group.pivot(index="layer", columns="head", values="auc").round(3)
        typer.echo(f"{name}, {kind} ({len(data.ids[:limit])} images)\n{grid.to_string()}\n")
