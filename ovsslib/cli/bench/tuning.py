"""`ovss bench tuning`, and how all of `ovss bench` ends: printed, and stored if wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from ovsslib.bench.tables import file_name, tuning_text
from ovsslib.cli._common import debugging, note, plain_output, settings


def _checked(out: Path | None) -> Path | None:
    """The folder, made and tried before anything is measured."""
    from ovsslib.io.files import check_folder

    return out if out is None else check_folder(out)


OUT = typer.Option(None, "--out", "-o", help="Folder for the results file.", callback=_checked)


def tuning(
    ctx: typer.Context,
    *,
    vlm: str = typer.Option(
        "micro-blip", help="Model: name, folder, hub id, or blip-large-random (no download)."
    ),
    images: int = typer.Option(100, min=1, help="Images of Diorama."),
    split: str = typer.Option("tune", help="Which of its splits."),
    root: Path | None = typer.Option(None, help="Its folder; without it the shipped one."),
    candidates: int = typer.Option(34, min=1, help="Candidates of a random search."),
    fair: int | None = typer.Option(
        None, min=1, help="Of these, candidates that are rerun one by one; without it, all."
    ),
    usual: int = typer.Option(
        4, min=0, help="Of these, candidates for the whole pipeline with rounds and CRF."
    ),
    reward: list[str] = typer.Option(
        [], "--reward", metavar="KEY=VALUE", help="Change an option of the reward: see the book."
    ),
    mean_head: bool = typer.Option(False, "--mean-head", help="The mean over heads too."),
    batch: int = typer.Option(8, min=1, help="Images in one pass of the model."),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
    threads: int | None = typer.Option(
        None, min=1, max=1024, help="Threads; without it, torch's choice."
    ),
    out: Path | None = OUT,
    as_json: bool = typer.Option(False, "--json", help="Print the results file instead of text."),
) -> None:
    r"""Candidates per minute from stored maps against running the pipeline for each.

    Rewards and the race's winner must be the same, else the exit status is 1 (not asked of random
    weights).

    \b
    Examples:
      ovss bench tuning --out data/benchmarks
      ovss bench tuning --candidates 480 --fair 20
      ovss bench tuning --vlm blip-large-random --images 4 --candidates 8
      ovss bench tuning --images 20 --candidates 8 --usual 0 --json
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.bench.tuning import tuning as measure
        from ovsslib.tuning.reward import RewardOptions

        record = measure(
            vlm,
            images,
            candidates,
            fair,
            usual,
            split=split,
            root=root,
            options=RewardOptions.from_dict(settings(reward, "--reward")),
            mean=mean_head,
            batch=batch,
            device=device,
            threads=threads,
        )
    finish(record, tuning_text(record), out, as_json=as_json)
    if record["agreement"]["agree"] is False:
        note("error: the rewards are not those of the pipeline")
        raise typer.Exit(1)
    if record["agreement"]["agree"] and not record["agreement"]["winner"]:
        note("error: the race did not end with the best candidate")
        raise typer.Exit(1)


def finish(record: dict[str, Any], text: str, out: Path | None, *, as_json: bool) -> None:
    """Store a record if there is a folder, and print it."""
    try:  # what was measured must be lost neither with the file nor with standard output
        if out is not None:
            text += f"\nwritten: {store(record, out)}"
    finally:
        typer.echo(_content(record).rstrip() if as_json else text)


def store(record: dict[str, Any], out: Path) -> Path:
    """Write a record into a folder, under its own name."""
    from ovsslib.io.files import write_atomic

    return write_atomic(out / f"{file_name(record)}.json", _content(record))


def _content(record: dict[str, Any]) -> str:
    """A record as the text of its file."""
    return json.dumps(record, indent=1, allow_nan=False) + "\n"
