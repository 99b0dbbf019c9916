"""`ovss tune`: layer, head, threshold and blur by a CLIP reward, without masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ovsslib.cli._common import (
    debugging,
    fractions,
    new_app,
    note,
    plain_output,
    progress,
    settings,
)

app = new_app()


@app.command()
def tune(
    ctx: typer.Context,
    *,
    vlm: str = typer.Option("micro-blip", help="Vision-language model: name, folder or hub id."),
    dataset: str = typer.Option("diorama", help="Data set: see ovss data list."),
    split: str = typer.Option("tune", help="Split of the data set, never the one reported on."),
    root: Path | None = typer.Option(None, help="Its folder; without it $OVSS_DATA."),
    labels: str = typer.Option(
        "captions", help="An image's classes: captions, recorded:FILE, or gpt4o."
    ),
    filter_change: list[str] = typer.Option(
        [], "--filter-set", metavar="KEY=VALUE", help="A setting of gpt4o, such as side=512."
    ),
    limit: int | None = typer.Option(None, min=1, help="Only the first N images."),
    trials: int = typer.Option(34, min=1, help="Candidates (grid: all)."),
    sampler: str = typer.Option("random", help="random (the paper's), grid or tpe."),
    seed: int = typer.Option(0, min=0, max=2**32 - 1, help="Of the sampler."),
    race: bool = typer.Option(
        False, "--race", help="Dismiss candidates that fall far behind (not with tpe)."
    ),
    mean_head: bool = typer.Option(False, "--mean-head", help="Search the mean over heads too."),
    thresholds: str = typer.Option("", help="Such as 0.05,0.15; else Table 2's."),
    blurs: str = typer.Option("", help="Such as 0.01,0.03; else Table 2's."),
    reward: list[str] = typer.Option(
        [], "--reward", metavar="KEY=VALUE", help="Change an option of the reward: see the book."
    ),
    change: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change a setting to start from."
    ),
    preset: str | None = typer.Option(None, help="Settings to start from; else the model's."),
    protocol: str = typer.Option("pnp-fixed", help="Evaluation protocol: its background rule."),
    storage: Path | None = typer.Option(
        None, help="SQLite file for the trials: the search goes on where it was interrupted."
    ),
    batch: int = typer.Option(8, min=1, help="Images in one pass of the model."),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
    download: bool = typer.Option(
        False, "--download", help="Fetch the model or the reward's CLIP if they are not here."
    ),
    study: Path | None = typer.Option(
        None,
        help="Do not search: write reward AND true pixel counts of the whole grid to this .parquet "
        "file, to see how far the reward can be trusted. This reads masks.",
    ),
    ablate: list[str] = typer.Option(
        [], help="With --study: note the reward for all values of this option too (repeat it)."
    ),
    rewarded: bool = typer.Option(
        True,
        "--rewards/--no-rewards",
        help="With --study: counts alone (CLIP must still be there).",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the preset file instead of text."),
    out: Path = typer.Option(
        Path("ovss-preset.json"), "--out", "-o", help="Preset file for ovss run --preset."
    ),
) -> None:
    r"""Find layer, head, threshold and blur with the highest reward by CLIP; no mask is read.

    The model runs once per image and gives the maps of all layers and heads; candidates are
    judged from those.

    \b
    Examples:
      ovss tune --vlm micro-blip --trials 34 --seed 0
      ovss tune --sampler grid --mean-head --race --storage trials.sqlite
      ovss tune --reward scope=image --reward contrast=mean
      ovss tune --reward model=ViT-L-14-336-quickgelu:openai --download
      ovss run --preset ovss-preset.json
      ovss tune --limit 40 --study study.parquet --ablate scope --ablate contrast
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.errors import OvssError
        from ovsslib.evaluate.spec import Execution, RunSpec
        from ovsslib.io.files import check_file
        from ovsslib.io.json import dumps
        from ovsslib.tuning.reward import RewardOptions
        from ovsslib.tuning.search import BLURS, THRESHOLDS, Plan
        from ovsslib.tuning.tune import Tuning, save_preset
        from ovsslib.tuning.tune import tune as run

        tuning = Tuning(
            RunSpec(
                vlm=vlm,
                preset=preset,
                config=settings(change),
                dataset=dataset,
                split=split,
                protocol=protocol,
                filter=labels,
                filter_settings=settings(filter_change, "--filter-set"),
                limit=limit,
            ),
            Plan(sampler, trials, seed, race),
            RewardOptions.from_dict(settings(reward, "--reward")),
            mean_head,
            fractions(thresholds, "--thresholds") or THRESHOLDS,
            fractions(blurs, "--blurs") or BLURS,
        )
        execution = Execution(
            batch=batch, device=device, root=root, progress=progress, download=download
        )
        if study is not None:
            if storage is not None:
                raise OvssError("a study keeps no trials; leave --storage out")
            _study(study, tuning, execution, ablate=ablate, rewarded=rewarded)
            return
        if ablate or not rewarded:
            raise OvssError("--ablate and --no-rewards belong to --study; leave them out")
        check_file(out, ".json")
        try:
            tuned = run(tuning, execution, storage=storage)
        except KeyboardInterrupt:
            kept = f"; {storage} keeps the trials, the same command goes on" if storage else ""
            note(f"interrupted{kept}")
            raise typer.Exit(130) from None
        try:
            written = save_preset(tuned, out)
        except OvssError:  # the disk is full by now: what was found goes to standard output
            typer.echo(dumps(tuned.record).rstrip())
            raise
    _warn(tuned.record["search"]["failed"])
    if as_json:
        typer.echo(dumps(tuned.record).rstrip())
        return
    typer.echo(text(tuned.record))
    typer.echo(f"written: {written}")


def _study(path: Path, tuning: Any, execution: Any, **how: Any) -> None:
    """Judge the whole grid and write the study."""
    from ovsslib.errors import OvssError
    from ovsslib.io.files import check_file
    from ovsslib.tuning.study.file import save_study
    from ovsslib.tuning.study.judge import study

    if tuning.plan.race:
        raise OvssError("a study judges all candidates on all images; leave --race out")
    check_file(path, ".parquet")
    result = study(tuning, execution, **how)
    written = save_study(result, path)
    _warn(result.facts["failed"])
    typer.echo(f"written: {written}")


def _warn(failed: dict[str, str]) -> None:
    """Name the images that were left out."""
    for name, reason in failed.items():
        note(f"warning: {name} was left out: {reason}")


def text(record: dict[str, Any]) -> str:
    """A preset file's content in a few lines."""
    result, config = record["search"], record["config"]
    head = "mean of heads" if config["head"] is None else f"head {config['head']}"
    dismissed = f" ({result['dismissed']} dismissed)" if result["dismissed"] else ""
    return (
        f"{result['vlm']} on {result['dataset']} {result['split']}: {result['trials']} candidates"
        f"{dismissed}, {result['images']} images, {result['pairs']} classes in them\n"
        f"  best: layer {config['layer']}, {head}, threshold {config['threshold']}, "
        f"blur {config['blur']}\n"
        f"  reward: {result['reward']:.3f} for each class of an image; the most is 1"
    )
