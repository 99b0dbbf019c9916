"""`ovss train`: train the micro models on Diorama's images, most of them with captions."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import typer

from ovsslib.cli._common import debugging, new_app, note, plain_output, progress
from ovsslib.lookup import pick
from ovsslib.trained.registry import TRAINABLE, recipe_name

app = new_app()
MODELS = [name for name in TRAINABLE if " " not in name]
RECIPES = [name for name in TRAINABLE if " " in name]


@app.command()
def train(
    ctx: typer.Context,
    model: str = typer.Argument(..., help=f"One of: {', '.join(MODELS)}."),
    recipe: str | None = typer.Option(
        None,
        help="Another recipe than the model's own; of micro-blip: blip (contrast and match, as "
        "BLIP was trained) or blip-local (so that image tokens stay local); of a system: without "
        f"one of its parts. All: {', '.join(RECIPES)}.",
    ),
    steps: int | None = typer.Option(None, min=1, help="Steps of the one-cycle schedule."),
    batch: int | None = typer.Option(None, min=1, help="Images a step."),
    rate: float | None = typer.Option(None, min=0, help="Peak learning rate of AdamW."),
    matrix_rate: float | None = typer.Option(
        None, min=0, help="Peak learning rate of Muon; 0 leaves everything to AdamW."
    ),
    dtype: str | None = typer.Option(
        None,
        help="Of the matrix products: bfloat16 (slow on processors without it) or float32.",
    ),
    seed: int = typer.Option(0, min=0, max=2**32 - 1, help="Seed of weights, order and negatives."),
    pictures: int | None = typer.Option(None, min=1, help="Images drawn for training."),
    close_ups: int | None = typer.Option(
        None, min=1, help="Every so many of them are close-ups of one thing."
    ),
    known_colours: bool | None = typer.Option(
        None,
        "--known-colours/--any-colours",
        help="Colours that false captions may give to a thing: those of true captions, or all.",
    ),
    heldout: int = typer.Option(1_000, min=2, help="Images drawn for each held-out set."),
    side: int | None = typer.Option(None, min=8, max=128, help="Side of the input in pixels."),
    width: int | None = typer.Option(None, min=16, max=4096, help="Width of every encoder."),
    text_layers: int | None = typer.Option(
        None,
        min=1,
        max=64,
        help="Layers of the text encoder (micro-bridgetower: of either encoder).",
    ),
    cache: Path = typer.Option(Path(".cache/diorama"), help="Where drawn images are kept."),
    run: Path | None = typer.Option(
        None, help="Folder of the run, runs/MODEL without it; one found there is continued."
    ),
    out: Path | None = typer.Option(
        None, help="Where the finished model goes (default: RUN/model)."
    ),
    threads: int = typer.Option(0, min=0, max=1024, help="Threads; 0 takes all cores."),
    every: int = typer.Option(500, min=1, help="Steps between held-out figures and snapshots."),
) -> None:
    r"""Train a model or a system on captions alone, micro-dino on images without them.

    A killed run continues with the same command.

    What is not given is as for the shipped model. `ovss localise --vlm RUN/snapshots/STEP` shows
    what the attention of a snapshot finds.

    \b
    Examples:
      ovss train micro-blip
      ovss train micro-blip --recipe blip
      ovss train micro-blip --steps 12000 --side 128 --run runs/larger
      ovss train micro-bridgetower --run runs/bridge
      ovss train micro-clip --batch 128
      ovss train micro-dino
      ovss train micro-clippy --seed 1
    """
    kind = recipe_name(model, recipe)
    chosen = pick("model to train", kind, TRAINABLE)
    with plain_output(debug=debugging(ctx)):
        import torch

        from ovsslib.bench.training import step_cost
        from ovsslib.io.files import check_folder, only_one
        from ovsslib.miniature.training.cache import HELD, SHARD, prepare
        from ovsslib.miniature.training.card import finish
        from ovsslib.miniature.training.loop import Schedule
        from ovsslib.miniature.training.recipe import Recipe

        begin, sizes = chosen.start()
        if threads:
            torch.set_num_threads(threads)
        folder = run or Path("runs") / kind.replace(" --recipe ", "-")
        choices = {"pictures": pictures, "close_ups": close_ups, "known_colours": known_colours}
        given = Recipe(heldout=heldout, **{**chosen.recipe, **_given(choices)})
        timing = {"steps": steps, "batch": batch, "rate": rate, "matrix_rate": matrix_rate}
        schedule = Schedule(seed=seed, **{**chosen.schedule, **_given(timing | {"dtype": dtype})})
        size = sizes(**_given({"side": side, "width": width, "text_layers": text_layers}))
        for place in (cache, folder, out or folder):
            check_folder(place)
        for split, n in (*((held, heldout) for held in HELD), ("train", given.pictures)):
            drawn = prepare(cache, split, n, close_ups=given.close_ups)
            for _ in progress(drawn, f"drawing {split}", -(-n // SHARD)):
                pass
        begun = time.strftime("%Y-%m-%d")
        with only_one(folder, "is training"):
            records = begin(schedule, given, cache, folder, every, size)
            for record in progress(records, model, schedule.steps):
                if "elapsed" in record:
                    note(json.dumps(record))
            cost = step_cost(begin, schedule, given, size)
            typer.echo(f"{model} is in {finish(folder, out, kind, begun, cost)}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
