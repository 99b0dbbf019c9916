"""`ovss filter`: which classes are in the images, asked of a model, read from files, scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ovsslib.cli._common import debugging, new_app, note, plain_output, progress, settings
from ovsslib.errors import OvssError

app = new_app(group=True, help="Find which classes are in the images.")

DATASET = typer.Option("diorama", help="Data set.")
SPLIT = typer.Option("val", help="Split of the data set.")
ROOT = typer.Option(None, help="Its folder; without it $OVSS_DATA, and for diorama the shipped.")
LIMIT = typer.Option(None, min=1, help="Only the first N images.")


@app.callback()
def group() -> None:
    r"""Find which classes are in the images: step 1 of the method.

    \b
    Examples:
      ovss filter ask answers.jsonl --dataset voc --model gpt-4o --max-images 2000
      ovss filter import voc_classification_noboundary.json --dataset voc --out voc.jsonl
      ovss filter score voc.jsonl --dataset voc
    """


@app.command()
def ask(
    ctx: typer.Context,
    answers: Path = typer.Argument(help="Answer file; appended to, so that a rerun goes on."),
    *,
    dataset: str = DATASET,
    split: str = SPLIT,
    root: Path | None = ROOT,
    limit: int | None = LIMIT,
    model: str = typer.Option("gpt-4o", help="Model, as the server calls it."),
    base_url: str = typer.Option(
        "https://api.openai.com/v1", help="Any server that speaks OpenAI's chat API."
    ),
    key_env: str = typer.Option(
        "OPENAI_API_KEY", help="Environment variable that holds the key; never the key itself."
    ),
    concurrency: int = typer.Option(4, min=1, help="Requests at a time."),
    max_images: int | None = typer.Option(
        None, min=1, help="Budget: stop after N requests, failed ones included."
    ),
    max_cost: float | None = typer.Option(
        None, min=0, help="Budget: stop before this is spent; needs both prices."
    ),
    price_in: float | None = typer.Option(None, min=0, help="Price of a million tokens read."),
    price_out: float | None = typer.Option(None, min=0, help="Price of a million written."),
    again: bool = typer.Option(
        False, "--again", help="Ask once more where an answer could not be read."
    ),
    change: list[str] = typer.Option(
        [], "--filter-set", metavar="KEY=VALUE", help="Another setting, such as side=512."
    ),
) -> None:
    r"""Ask a model which classes it sees in each image that the answer file lacks.

    The image is sent shrunk. Rate limits, server errors and broken answers are tried again with
    growing pauses. A run that is stopped, or killed, loses the answers in flight and goes on with
    the same command. Where answers are missing in the end, the exit status is 1.

    \b
    Examples:
      ovss filter ask answers.jsonl --dataset voc --max-cost 5 --price-in 2.5 --price-out 10
      ovss filter ask local.jsonl --base-url http://localhost:8000/v1 --model llava
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.datasets import load_dataset
        from ovsslib.filters import get_filter
        from ovsslib.filters.answers.file import read_answers
        from ovsslib.filters.chat.queue import Report

        options: dict[str, Any] = {
            "answers": str(answers),
            "model": model,
            "base_url": base_url,
            "key_env": key_env,
            "concurrency": concurrency,
            "max_images": max_images,
            "max_cost": max_cost,
            "price_in": price_in,
            "price_out": price_out,
        }
        looks: Any = get_filter("gpt4o", options | settings(change, "--filter-set"))
        data = load_dataset(dataset, root, split)
        names = data.ids[:limit]
        report = Report()
        for _ in progress(looks.asking(data, names, report, again=again), "asking", len(names)):
            pass
        have = read_answers(answers)
    for name, reason in report.failed.items():
        note(f"error: {name}: {reason}")
    for name in have.unreadable:
        note(f"warning: {name}: the answer holds no list of classes; ask again with --again")
    _damaged(have)
    left = sum(name not in have.by_image for name in names)
    typer.echo(f"{len(report.answered)} new answers, {len(names) - left} of {len(names)} images")
    if report.stopped is not None:
        note(f"stopped: {report.stopped}; the same command goes on")
    if left:
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    ctx: typer.Context,
    released: Path = typer.Argument(help="Answers as the paper released them: a JSON file."),
    *,
    dataset: str = typer.Option(help="Their data set: voc, context, ade20k, coco-object, …"),
    split: str = SPLIT,
    out: Path = typer.Option(help="Answer file to write."),
    trust: str = typer.Option(
        "number", help="What counts where number and name disagree: number (as released) or name."
    ),
) -> None:
    r"""Turn the paper's released answers into an answer file, and list every oddity in them.

    \b
    Examples:
      ovss filter import voc_classification_noboundary.json --dataset voc --out voc.jsonl
      ovss run --dataset voc --filter recorded:voc.jsonl
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.filters.answers import recorded
        from ovsslib.filters.answers.file import AnswerWriter
        from ovsslib.filters.answers.vocabulary import released_vocabulary

        if out.exists():
            raise OvssError(f"{out} exists already; name another file or delete it")
        vocabulary = released_vocabulary(dataset, trust)
        found = recorded.parse_released(recorded.read_released(released), vocabulary)
        with AnswerWriter(out, recorded.released_source(dataset, split)) as writer:
            writer.write(*found)
    odd = 0
    for answer in found:
        for remark in answer.parsed.remarks:
            note(f"{answer.image}: {remark.piece}: {remark.reason}")
            odd += 1
    named = sum(len(answer.parsed.guesses) for answer in found)
    unreadable = sum(not answer.parsed.readable for answer in found)
    typer.echo(
        f"{len(found)} answers, {named} classes named, {odd} oddities listed, "
        f"{unreadable} answers unreadable\nwritten: {out}"
    )


@app.command()
def score(
    ctx: typer.Context,
    name: str = typer.Argument(
        metavar="FILTER", help="An answer file, or a filter such as clip, vlm or clip:MODEL."
    ),
    *,
    dataset: str = DATASET,
    split: str = SPLIT,
    root: Path | None = ROOT,
    limit: int | None = LIMIT,
    change: list[str] = typer.Option(
        [], "--filter-set", metavar="KEY=VALUE", help="A setting, such as threshold=0.5."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of text."),
) -> None:
    r"""Precision and recall of a filter's classes against those in the label maps.

    \b
    Examples:
      ovss filter score answers.jsonl --dataset voc
      ovss filter score vlm --dataset diorama --filter-set threshold=0.5
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.datasets import load_dataset
        from ovsslib.filters import get_filter
        from ovsslib.filters.quality import score_filter
        from ovsslib.io.json import dumps

        full = f"recorded:{name}" if name.endswith(".jsonl") and ":" not in name else name
        looks = get_filter(full, settings(change, "--filter-set"))
        data = load_dataset(dataset, root, split)
        found = score_filter(looks, data, data.ids[:limit], progress)
        place = {"filter": full.partition(":")[0], "filter_settings": looks.described}
        record = {**place, "dataset": data.name, "split": data.split, **found}
    typer.echo(dumps(record).rstrip() if as_json else _text(record))
    for picture, reason in record["failed"].items():
        note(f"error: {picture}: {reason}")
    if record["failed"]:
        raise typer.Exit(1)


@app.command()
def tune(
    ctx: typer.Context,
    name: str = typer.Argument(metavar="FILTER", help="clip or vlm, or one with its model."),
    *,
    dataset: str = DATASET,
    split: str = typer.Option("tune", help="Split to choose on; never the one that is reported."),
    root: Path | None = ROOT,
    limit: int | None = LIMIT,
    change: list[str] = typer.Option([], "--filter-set", metavar="KEY=VALUE", help="A setting."),
) -> None:
    r"""Find the threshold of clip or vlm with the best F1.

    \b
    Examples:
      ovss filter tune vlm
      ovss filter tune clip:micro-clip --limit 50
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.datasets import load_dataset
        from ovsslib.filters import get_filter
        from ovsslib.filters.thresholded import ThresholdedFilter, best_threshold, score_all

        looks = get_filter(name, settings(change, "--filter-set"))
        if not isinstance(looks, ThresholdedFilter):
            raise OvssError(f"the filter {name!r} has no scores to choose a threshold for")
        data = load_dataset(dataset, root, split)
        names = data.ids[:limit]
        threshold, f1 = best_threshold(*score_all(looks, data, progress(names, "tuning")))
    typer.echo(f"threshold {threshold:.3f}: F1 {f1:.4f} on {len(names)} images of {split}")


def _damaged(have: Any) -> None:
    if have.damaged:
        lines = ", ".join(map(str, have.damaged))
        note(f"warning: {have.path}: cannot be read in line {lines}; left out")


def _text(record: dict[str, Any]) -> str:
    """A filter's figures as a few lines, in percent."""

    def percent(value: float | None) -> str:
        return "    -" if value is None else f"{100 * value:5.1f}"

    figures = "  ".join(f"{key} {percent(record[key]).strip()}" for key in ("precision", "recall"))
    where = f"{record['dataset']} {record['split']}"
    lines = [
        f"{record['filter']} on {where} ({record['images']} images)",
        f"  {figures}  F1 {percent(record['f1']).strip()}",
        f"  all classes right in {percent(record['exact']).strip()} % of the images",
        f"  {record['named']:.2f} classes named per image, {record['true']:.2f} true",
    ]
    width = max(map(len, record["classes"]))
    lines.append(f"  {'class':<{width}}  prec.  recall  named   true")
    for name, row in record["classes"].items():
        cells = f"{percent(row['precision'])}   {percent(row['recall'])}"
        lines.append(f"  {name:<{width}}  {cells}  {row['named']:5d}  {row['true']:5d}")
    return "\n".join(lines)
