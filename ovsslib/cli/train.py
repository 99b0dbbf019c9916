"""`ovss train`: train the micro models on Diorama's images, most of them with captions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ovsslib.cli._common import debugging, new_app, note, plain_output, progress
from ovsslib.lookup import pick

if TYPE_CHECKING:
    from ovsslib.miniature.training.loop import Schedule
    from ovsslib.miniature.training.recipe import Recipe

    Start = Callable[[Schedule, Recipe, Path, Path, int, Any], Iterator[dict[str, Any]]]

app = new_app()
BLIP = "micro-blip --recipe blip"
LOCAL = "micro-blip --recipe blip-local"
WORDS = {"batch": 64, "rate": 1.5e-3, "matrix_rate": 0.008, "warmup": 0.03}
OTHERS = WORDS | {"rate": 1e-3, "warmup": 0.05, "dtype": "bfloat16"}
# The schedules that the shipped models were trained with; options change single values.
SCHEDULES: dict[str, dict[str, Any]] = {
    "micro-blip": {"steps": 4800, **WORDS},
    BLIP: {"steps": 5000, **OTHERS},
    LOCAL: {"steps": 4000, **OTHERS},
    # A step computes 2.4 times as much as micro-blip's.
    "micro-bridgetower": {"steps": 2000, **WORDS, "dtype": "bfloat16"},
    "micro-clip": {"steps": 5000, **OTHERS},
    "micro-dino": {"steps": 5000, **OTHERS},
}


# The rest of their recipes, where it is not the default.
RECIPES: dict[str, dict[str, Any]] = {
    BLIP: {"pictures": 60_000, "list_share": 0.3, "known_colours": True},
    LOCAL: {
        "pictures": 60_000,
        "list_share": 0.3,
        "known_colours": True,
        "first_share": 0.5,
        "local": True,
    },
    "micro-bridgetower": {
        "pictures": 60_000,
        "whole_share": 0.12,
        "close_ups": 3,
        "known_colours": True,
    },
    "micro-clip": {"pictures": 60_000, "list_share": 0.3},
    "micro-dino": {"pictures": 60_000},
}


def _start(model: str) -> tuple[Start, Callable[..., Any]]:
    """The training function of a model, and what makes its sizes."""
    if model == "micro-blip":
        from ovsslib.miniature.training.blip import BlipSize
        from ovsslib.miniature.training.recipe import train_micro_blip

        return train_micro_blip, BlipSize
    if model in (BLIP, LOCAL):
        from ovsslib.miniature.training.contrast import SIZE
        from ovsslib.miniature.training.recipe import train_micro_blip_contrast

        return train_micro_blip_contrast, partial(replace, SIZE)
    if model == "micro-bridgetower":
        from ovsslib.miniature.training.bridgetower import BridgeTowerSize
        from ovsslib.miniature.training.bridgetower_recipe import train_micro_bridgetower

        return train_micro_bridgetower, BridgeTowerSize
    if model == "micro-dino":
        from ovsslib.miniature.training.dino import dino_size, train_micro_dino

        return train_micro_dino, dino_size
    from ovsslib.miniature.training.clip import ClipSize, train_micro_clip

    return train_micro_clip, ClipSize


@app.command()
def train(
    ctx: typer.Context,
    model: str = typer.Argument(..., help=f"One of: {', '.join(SCHEDULES)}."),
    recipe: str = typer.Option(
        "words",
        help="Of micro-blip: words (attention learns what each word means), blip (contrast and "
        "match, as BLIP was trained), or blip-local (so that image tokens stay local).",
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
    r"""Train a micro model on captions alone, micro-dino on images without them.

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
    """
    kind = model if recipe == "words" else f"{model} --recipe {recipe}"
    defaults = pick("model to train", kind, SCHEDULES)
    with plain_output(debug=debugging(ctx)):
        import torch

        from ovsslib.io.files import check_folder, only_one
        from ovsslib.miniature.training.cache import HELD, SHARD, prepare
        from ovsslib.miniature.training.card import finish
        from ovsslib.miniature.training.loop import Schedule
        from ovsslib.miniature.training.recipe import Recipe

        begin, sizes = _start(kind)
        if threads:
            torch.set_num_threads(threads)
        folder = run or Path("runs") / kind.replace(" --recipe ", "-")
        choices = {"pictures": pictures, "close_ups": close_ups, "known_colours": known_colours}
        given = Recipe(heldout=heldout, **(RECIPES.get(kind, {}) | _given(choices)))
        timing = {"steps": steps, "batch": batch, "rate": rate, "matrix_rate": matrix_rate}
        schedule = Schedule(seed=seed, **(defaults | _given(timing | {"dtype": dtype})))
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
            typer.echo(f"{model} is in {finish(folder, out, kind, begun)}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
