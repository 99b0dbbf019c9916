"""`ovss filter`: ask a model which classes are in the images, read its answers, score filters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ovsslib.cli._common import debugging, new_app, note, plain_output, progress, settings
from ovsslib.errors import OvssError

app = new_app(group=True, help="Find which classes are in the images.")

DATASET = typer.Option("diorama", help="Data set.")
SPLIT = typer.Option("val", help="Split of the data set.")
ROOT = typer.Option(None, help="Its folder; default $OVSS_DATA, and for diorama the shipped one.")
LIMIT = typer.Option(None, min=1, help="Only the first N images.")
CHANGE = typer.Option(
    [], "--filter-set", metavar="KEY=VALUE", help="A setting of the filter, such as threshold=0.5."
)


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
    answers: Path = typer.Argument(help="Answer file; appended to, so that a rerun continues."),
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
    concurrency: int = typer.Option(4, min=1, max=256, help="Requests at a time."),
    max_images: int | None = typer.Option(None, min=1, help="Budget: ask about at most N images."),
    max_cost: float | None = typer.Option(
        None,
        min=0,
        help="Budget: stop once this is spent; needs both prices. Checked after each answer: the "
        "answers in flight come on top.",
    ),
    price_in: float | None = typer.Option(None, min=0, help="Price of a million tokens read."),
    price_out: float | None = typer.Option(None, min=0, help="Price of a million written."),
    again: bool = typer.Option(
        False, "--again", help="Ask once more where an answer could not be read."
    ),
    change: list[str] = CHANGE,
) -> None:
    r"""Ask a model which classes it sees in each image that the answer file lacks.

    Images are shrunk before they are sent. After rate limits, server errors and broken answers the
    question is sent again. After an interruption the same command continues; only answers in flight
    are lost. If answers are missing in the end, the exit status is 1.

    \b
    Examples:
      ovss filter ask answers.jsonl --dataset voc --max-cost 5 --price-in 2.5 --price-out 10
      ovss filter ask local.jsonl --base-url http://localhost:8000/v1 --model llava
    """
    with plain_output(debug=debugging(ctx)):
        from ovsslib.datasets import load_dataset
        from ovsslib.filters import get_filter
        from ovsslib.filters.answers.file import read_answers
        from ovsslib.filters.chat.queue import AskReport

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
        class_filter: Any = get_filter("gpt4o", options | settings(change, "--filter-set"))
        data = load_dataset(dataset, root, split)
        names = data.ids[:limit]
        report = AskReport()
        steps = class_filter.asking(data, names, report, again=again)
        for _ in progress(steps, "asking", len(names)):
            pass
        stored = read_answers(answers)
    for name, reason in report.failed.items():
        note(f"error: {name}: {reason}")
    for name in stored.unreadable:
        note(f"warning: {name}: the answer holds no list of classes; ask again with --again")
    if stored.damaged:
        lines = ", ".join(map(str, stored.damaged))
        note(f"warning: {answers}: cannot be read in line {lines}; left out")
    left = sum(name not in stored.by_image for name in names)
    typer.echo(f"{len(report.answered)} new answers, {len(names) - left} of {len(names)} images")
    if report.stopped is not None:
        note(f"stopped: {report.stopped}; the same command continues")
    if left:
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    ctx: typer.Context,
    released: Path = typer.Argument(help="The paper's released answers: a JSON file."),
    *,
    dataset: str = typer.Option(help="Their data set: voc, context, ade20k, coco-object, …"),
    split: str = SPLIT,
    out: Path = typer.Option(help="Answer file to write."),
    trust: str = typer.Option(
        "number",
        help="Which counts where they disagree: number (as in the released code) or name.",
    ),
) -> None:
    r"""Turn the paper's released answers into an answer file, and list what is odd in them.

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
        parsed = recorded.parse_released(recorded.read_released(released), vocabulary)
        with AnswerWriter(out, recorded.released_source(dataset, split)) as writer:
            writer.write(*parsed)
    odd = [(answer.image, remark) for answer in parsed for remark in answer.parsed.remarks]
    for image, remark in odd:
        note(f"{image}: {remark.piece}: {remark.reason}")
    named = sum(len(answer.parsed.guesses) for answer in parsed)
    unreadable = sum(not answer.parsed.readable for answer in parsed)
    typer.echo(
        f"{len(parsed)} answers, {named} classes named, {len(odd)} oddities listed, "
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
    change: list[str] = CHANGE,
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
        class_filter = get_filter(full, settings(change, "--filter-set"))
        data = load_dataset(dataset, root, split)
        record = {
            "filter": full.partition(":")[0],
            "filter_settings": class_filter.described,
            "dataset": data.name,
            "split": data.split,
            "images_expected": data.expected(limit),
            **score_filter(class_filter, data, data.ids[:limit], progress),
        }
    typer.echo(dumps(record).rstrip() if as_json else _text(record))
    for image, reason in record["failed"].items():
        note(f"error: {image}: {reason}")
    if record["failed"]:
        raise typer.Exit(1)


@app.command()
def tune(
    ctx: typer.Context,
    name: str = typer.Argument(metavar="FILTER", help="clip or vlm, or one with its model."),
    *,
    dataset: str = DATASET,
    split: str = typer.Option("tune", help="Split to choose on; never the one you report."),
    root: Path | None = ROOT,
    limit: int | None = LIMIT,
    change: list[str] = CHANGE,
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

        class_filter = get_filter(name, settings(change, "--filter-set"))
        if not isinstance(class_filter, ThresholdedFilter):
            raise OvssError(f"the filter {name!r} has no threshold to choose; use clip or vlm")
        data = load_dataset(dataset, root, split)
        names = data.ids[:limit]
        threshold, f1 = best_threshold(*score_all(class_filter, data, progress(names, "tuning")))
    typer.echo(f"threshold {threshold:.3f}: F1 {f1:.4f} on {len(names)} images of {split}")


def _text(record: dict[str, Any]) -> str:
    """A filter's figures as a few lines, in percent."""
    import pandas as pd

    table = pd.DataFrame.from_dict(record["classes"], orient="index")
    percent = ["precision", "recall"]
    table[percent] = 100 * table[percent].astype(float)
    figures = (f"{name} {100 * (record[name] or 0):.1f}" for name in (*percent, "f1"))
    return "\n".join(
        [
            f"{record['filter']} on {record['dataset']} {record['split']} "
            f"({record['images']} of {record['images_expected']} images)",
            "  " + "  ".join(figures).replace("f1", "F1"),
            f"  all classes right in {100 * record['exact']:.1f} % of the images",
            f"  {record['named']:.2f} classes named per image, {record['true']:.2f} true",
            table.to_string(na_rep="-", float_format="%.1f"),
        ]
    )
