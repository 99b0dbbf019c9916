"""``ovss train``: train the micro models on Diorama's pictures and captions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from ovsslib.cli._common import note, progress

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
STEPS = typer.Option(None, min=1, help="Steps of the one-cycle schedule (default: the recipe's).")
BATCH = typer.Option(None, min=1, help="Pictures a step (default: the recipe's).")
RATE = typer.Option(None, help="Peak learning rate (default: the recipe's).")
SEED = typer.Option(0, min=0, help="Seed of weights, order and negatives.")
PICTURES = typer.Option(30_000, min=1, help="Pictures drawn for training.")
HELDOUT = typer.Option(1_000, min=2, help="Pictures drawn for the held-out figures.")
CACHE = typer.Option(Path(".cache/diorama"), help="Where drawn pictures are kept.")
RUN = typer.Option(None, help="Folder of the run; one found there is continued.")
OUT = typer.Option(None, help="Where the finished model goes (default: RUN/model).")
THREADS = typer.Option(0, min=0, help="Threads; 0 takes all cores.")
EVERY = typer.Option(250, min=1, help="Steps between held-out figures and snapshots.")


@app.callback()
def group() -> None:
    """Train a micro model on captions alone. A killed run continues with the same command."""


def _train(
    name: str,
    start: Callable[[Any, Any, Path, Path, int], Iterator[dict[str, Any]]],
    schedule_defaults: dict[str, Any],
    steps: int | None,
    batch: int | None,
    rate: float | None,
    seed: int,
    pictures: int,
    heldout: int,
    cache: Path,
    run: Path | None,
    out: Path | None,
    threads: int,
    every: int,
) -> None:
    import torch

    from ovsslib.training.card import finish
    from ovsslib.training.data import prepare
    from ovsslib.training.loop import Schedule
    from ovsslib.training.recipes import Recipe

    if threads:
        torch.set_num_threads(threads)
    folder = run or Path("runs") / name
    for split, n in (("heldout", heldout), ("train", pictures)):
        shards = -(-n // 500)
        for _ in progress(prepare(cache, split, n), f"drawing {split}", shards):
            pass
    given = {"steps": steps, "batch": batch, "rate": rate}
    chosen = schedule_defaults | {key: value for key, value in given.items() if value is not None}
    schedule = Schedule(seed=seed, **chosen)
    begun = time.strftime("%Y-%m-%d")
    for record in progress(
        start(schedule, Recipe(pictures, heldout), cache, folder, every), name, schedule.steps
    ):
        if "elapsed" in record:
            note(json.dumps(record))
    target = finish(folder, out, name, begun)
    typer.echo(f"{name} is in {target}")


@app.command("micro-blip")
def micro_blip(
    steps: int | None = STEPS,
    batch: int | None = BATCH,
    rate: float | None = RATE,
    seed: int = SEED,
    pictures: int = PICTURES,
    heldout: int = HELDOUT,
    cache: Path = CACHE,
    run: Path | None = RUN,
    out: Path | None = OUT,
    threads: int = THREADS,
    every: int = EVERY,
    side: int = typer.Option(96, min=8, max=128, help="Side of the square input in pixels."),
    width: int = typer.Option(128, min=16, help="Width of both encoders."),
    text_layers: int = typer.Option(4, min=1, help="Text layers, each with cross-attention."),
) -> None:
    r"""Train micro-blip: match, masked words and word match on one pass.

    \b
    Examples:
      ovss train micro-blip
      ovss train micro-blip --steps 6000 --side 128 --run runs/larger
    """
    from ovsslib.training.recipes import train_micro_blip

    def start(
        schedule: Any, recipe: Any, cache: Path, folder: Path, every: int
    ) -> Iterator[dict[str, Any]]:
        from ovsslib.training.micro_blip import BlipSize

        size = BlipSize(side=side, width=width, text_layers=text_layers)
        return train_micro_blip(schedule, recipe, cache, folder, every, size)

    _train(
        "micro-blip",
        start,
        {"steps": 2800, "batch": 64, "rate": 1.5e-3, "warmup": 0.05},
        steps,
        batch,
        rate,
        seed,
        pictures,
        heldout,
        cache,
        run,
        out,
        threads,
        every,
    )


@app.command("micro-clip")
def micro_clip(
    steps: int | None = STEPS,
    batch: int | None = BATCH,
    rate: float | None = RATE,
    seed: int = SEED,
    pictures: int = PICTURES,
    heldout: int = HELDOUT,
    cache: Path = CACHE,
    run: Path | None = RUN,
    out: Path | None = OUT,
    threads: int = THREADS,
    every: int = EVERY,
) -> None:
    r"""Train micro-clip: the contrastive loss on pictures and captions.

    \b
    Examples:
      ovss train micro-clip
      ovss train micro-clip --steps 4000 --batch 128
    """
    from ovsslib.training.micro_clip import train_micro_clip

    _train(
        "micro-clip",
        train_micro_clip,
        {"steps": 1200, "batch": 64, "rate": 1e-3},
        steps,
        batch,
        rate,
        seed,
        pictures,
        heldout,
        cache,
        run,
        out,
        threads,
        every,
    )
