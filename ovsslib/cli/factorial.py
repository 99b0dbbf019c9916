"""`ovss factorial`: gradient, heads and dropout in all combinations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ovsslib.cli._common import (
    debugging,
    fractions,
    new_app,
    plain_output,
    progress,
    settings,
    show_comparison,
)

app = new_app()


@app.command()
def factorial(
    ctx: typer.Context,
    *,
    vlm: str = typer.Option("micro-blip", help="Vision-language model: name, folder or hub id."),
    change: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change one setting, such as --set crf=false."
    ),
    dataset: str = typer.Option("diorama", help="Data set: see ovss data list."),
    split: str = typer.Option("val", help="Split that the figures are of."),
    root: Path | None = typer.Option(None, help="Its folder; without it $OVSS_DATA."),
    protocol: str = typer.Option("pnp-fixed", help="Evaluation protocol."),
    limit: int | None = typer.Option(None, min=1, help="Only the first N images of it."),
    tune_split: str = typer.Option("tune", help="Split that the reward chooses on: another one."),
    tune_root: Path | None = typer.Option(None, help="Its folder, if it is another."),
    tune_limit: int | None = typer.Option(None, min=1, help="Only the first N images of it."),
    labels: str = typer.Option(
        "captions", help="Classes of the images to choose on: captions, recorded:FILE, or gpt4o."
    ),
    thresholds: str = typer.Option("", help="Such as 0.05,0.15; else Table 2's."),
    blurs: str = typer.Option("", help="Such as 0.01,0.03; else Table 2's."),
    reward: list[str] = typer.Option(
        [], "--reward", metavar="KEY=VALUE", help="Change an option of the reward: see the book."
    ),
    storage: Path | None = typer.Option(
        None, help="SQLite file that keeps the choice's trials; the same command goes on."
    ),
    batch: int = typer.Option(8, min=1, help="Images in one pass of the model."),
    refine_workers: int = typer.Option(
        0, min=0, max=1024, help="Processes for refinement beside the model."
    ),
    device: str | None = typer.Option(None, help="Such as cpu or cuda:0; without it, the best."),
    as_json: bool = typer.Option(False, "--json", help="Print the results file instead of text."),
    out: Path = typer.Option(
        Path("ovss-results"), "--out", "-o", envvar="OVSS_RESULTS", help="Folder for the results."
    ),
) -> None:
    r"""Measure attention against GradCAM, one head against the mean, DropOut against none.

    For each kind of salience the reward chooses layer, head, threshold and blur without masks (all
    candidates, in a race); then all combinations run over the same images with the classes
    of their masks given. The exit status is 1 when an image could not be read.

    \b
    Examples:
      ovss factorial --limit 20 --tune-limit 20
      ovss factorial --vlm runs/micro-blip-blip/model --out results
      ovss factorial --reward scope=image --reward contrast=mean --set crf=false
      ovss factorial --storage trials.sqlite --thresholds 0.05,0.15 --blurs 0.03
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.errors import OvssError
        from ovsslib.evaluate.spec import Execution, RunSpec
        from ovsslib.tuning.factorial import factorial as run
        from ovsslib.tuning.reward import RewardOptions
        from ovsslib.tuning.search import BLURS, THRESHOLDS, Plan
        from ovsslib.tuning.tune import Tuning

        if (tune_split, tune_root or root) == (split, root):
            raise OvssError(
                f"the split {split!r} is reported on; nothing may be chosen on it: give another "
                "--tune-split"
            )
        shared: dict[str, Any] = {
            "vlm": vlm,
            "config": settings(change),
            "dataset": dataset,
            "protocol": protocol,
        }
        tuning = Tuning(
            RunSpec(**shared, split=tune_split, filter=labels, limit=tune_limit),
            Plan("grid", race=True),
            RewardOptions.from_dict(settings(reward, "--reward")),
            thresholds=fractions(thresholds, "--thresholds") or THRESHOLDS,
            blurs=fractions(blurs, "--blurs") or BLURS,
        )
        path, record = run(
            tuning,
            RunSpec(**shared, split=split, limit=limit),
            out,
            Execution(batch, refine_workers, device, root, progress),
            tuning_root=tune_root or root,
            storage=storage,
        )
    show_comparison(path, record, text(record), as_json=as_json)


def text(record: dict[str, Any]) -> str:
    """The figures as a few lines, in percent and points.

    Args:
        record: What `ovsslib.tuning.factorial.factorial` gives.
    """
    lines = [
        f"{record['vlm']} on {record['dataset']} {record['split']} ({record['images']} images, "
        f"protocol {record['protocol']['name']}); chosen on {record['tuning']['split']}"
    ]
    for name, chosen in record["chosen"].items():
        head = chosen["head"] or "mean"
        lines.append(
            f"  {name:<16} layer {chosen['layer']}, head {head}, threshold {chosen['threshold']}, "
            f"blur {chosen['blur']}"
        )
    lines.append(f"  {'setting':<26}{'mIoU':>6}  {'difference':>10}  95 % interval")
    for name, run in record["runs"].items():
        difference = run["difference"]
        span = f"[{100 * difference['low']:.1f}, {100 * difference['high']:.1f}]"
        lines.append(
            f"  {name:<26}{100 * run['miou']['value']:6.1f}  "
            f"{100 * difference['value']:+10.1f}  {span}"
        )
    return "\n".join(lines)
