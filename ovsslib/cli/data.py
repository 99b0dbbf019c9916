"""`ovss data`: list, check, fetch and convert the data sets."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from ovsslib.cli._common import new_app, note, progress
from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from ovsslib.datasets.verify import Verification

app = new_app(group=True)
_ROOT = typer.Option(None, help="The data set's folder; by default, looked for in $OVSS_DATA.")
_SPLIT = typer.Option("val", help="Split of the data set.")


@app.callback()
def group() -> None:
    r"""List, check, download and convert data sets in $OVSS_DATA or the folder given by --root.

    \b
    Examples:
      export OVSS_DATA="$HOME/data"
      ovss data download voc
      ovss data verify voc
    """


@app.command("list")
def list_() -> None:
    r"""List the data sets: classes, background, other names.

    \b
    Examples:
      ovss data list
    """
    from ovsslib.datasets import ALIASES, LAYOUTS

    short = {meant: alias for alias, meant in ALIASES.items()}
    for name, layout in sorted(LAYOUTS.items()):
        rest = "background is a class" if layout.background else "no background"
        if layout.zero_is_void:
            rest = "pixels without a class are void"
        count = len(layout.classes) + layout.background
        also = f", also called {short[name]}" if name in short else ""
        typer.echo(f"{name:<23}{count:>4} classes, {rest}{also}")


@app.command()
def verify(
    name: str = typer.Argument(help="Data set: see ovss data list."),
    *,
    root: Path | None = _ROOT,
    split: str = _SPLIT,
    deep: bool = typer.Option(False, help="Decode every image, not only its header and end."),
    show: int = typer.Option(3, min=0, help="Faults of each kind to print."),
    threads: int | None = typer.Option(
        None, min=1, max=1024, help="By default one per CPU, at most 8."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
) -> None:
    r"""Check all files of a split: counts, sizes, label values, modes; name likely mistakes.

    The exit status is 0 when nothing is wrong, else 1.

    \b
    Examples:
      ovss data verify voc
      ovss data verify context59 --root VOCdevkit/VOC2010 --show 10
      ovss data verify coco-stuff --deep --json > report.json
    """
    from ovsslib.datasets import load_dataset
    from ovsslib.datasets.verify import verify as check

    data = load_dataset(name, root, split)
    report = check(data, deep=deep, threads=threads, progress=progress)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        typer.echo(_text(report, data.classes, show))
    if not report.ok:
        raise typer.Exit(1)


def _text(report: Verification, classes: tuple[str, ...], show: int) -> str:
    """The report as text, with up to `show` faults of each kind."""
    lines = [f"{report.dataset} {report.split}: {report.images} images in {report.root}"]
    for kind, faults in report.faults.items():
        lines.append(f"  {kind}: {len(faults)}")
        lines += [f"    {fault}" for fault in faults[:show]]
        if len(faults) > show:
            lines.append(f"    … and {len(faults) - show} more (--show)")
    absent = [name for name, n in zip(classes, report.images_with[1:], strict=True) if not n]
    if absent and report.images:
        some = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        lines.append(f"  {len(absent)} of {len(classes)} classes are in no image: {some}")
    lines.append(f"  {100 * report.void:.1f} % of all pixels are void")
    lines.append("no problems found" if report.ok else "problems found (see above)")
    return "\n".join(lines)


@app.command()
def download(
    name: str = typer.Argument(help="voc, context, coco-object, coco-stuff, ade20k, …"),
    *,
    root: Path | None = typer.Option(
        None, help="Folder of data sets to write to; by default $OVSS_DATA."
    ),
    mirror: str | None = typer.Option(
        None, help="Address of a folder with the same files, instead of the official ones."
    ),
    keep: bool = typer.Option(False, help="Keep the archives after unpacking."),
    again: bool = typer.Option(False, help="Download again what was downloaded before."),
) -> None:
    r"""Download a data set from its official addresses and unpack it.

    Checksums are compared where one is published. After an interruption the same command starts
    the interrupted file again and skips those that are complete. Each data set has its own terms
    of use.

    \b
    Examples:
      ovss data download voc --root "$HOME/data"
      ovss data download context && ovss data convert context
      ovss data download coco-stuff --mirror http://files.example.org/coco
    """
    from ovsslib.datasets import LAYOUTS
    from ovsslib.datasets.download import SOURCES
    from ovsslib.datasets.download import download as fetch

    shelf = root or (Path(os.environ["OVSS_DATA"]) if os.environ.get("OVSS_DATA") else None)
    if shelf is None:
        raise OvssError("no folder to write to: set OVSS_DATA, or give one with --root")
    # Variants share their files: voc for voc20.
    variant = name in LAYOUTS and name not in SOURCES
    key = name.rstrip("0123456789") if variant else name
    if key in SOURCES:
        note(f"downloading and unpacking {key}; this may take long")
    try:
        folders = fetch(key, shelf, mirror=mirror, keep=keep, again=again)
    except KeyboardInterrupt as stop:
        note("interrupted; the same command skips what is complete and starts this file again")
        for line in getattr(stop, "__notes__", ()):
            note(line)
        raise typer.Exit(130) from None
    typer.echo(f"{name} is in {', '.join(map(str, dict.fromkeys(folders)))}")
    if key == "context":
        where = f" --root {root / 'VOCdevkit'}" if root else ""
        typer.echo(f"now make its labels: ovss data convert context{where}")


@app.command()
def convert(
    name: str = typer.Argument(help="context or coco-object."),
    *,
    root: Path | None = _ROOT,
    source: str | None = typer.Option(
        None,
        help="context: trainval_merged.json, or the folder of .mat files or of 59_context_labels; "
        "by default the first of these that is there. coco-object: maps or instances.",
    ),
    out: Path | None = typer.Option(None, help="coco-object: folder to write annotations/ in."),
    split: str = _SPLIT,
) -> None:
    r"""Convert official annotation formats; the sources stay unchanged.

    context: SegmentationClassContext, in mmsegmentation's order, and the lists of both splits.
    coco-object: GroupViT's …_instanceTrainIds.png for other programs (ovss reads the official
    pixel maps and instances_val2017.json directly, as all other data sets).

    \b
    Examples:
      ovss data convert context
      ovss data convert context --root VOCdevkit/VOC2010 --source trainval
      ovss data convert coco-object --source instances --out coco-instances
    """
    from ovsslib.datasets.convert import convert_coco_object, convert_context

    if name == "context":
        if out is not None:
            raise OvssError("--out is for coco-object; context's labels go beside its images")
        folder, count = convert_context(root, Path(source) if source else None, progress=progress)
    elif name == "coco-object":
        if source not in (None, "maps", "instances"):
            raise OvssError(f"--source {source}: coco-object is made from maps or instances")
        kind: Literal["maps", "instances"] = "instances" if source == "instances" else "maps"
        folder, count = convert_coco_object(root, kind, out, split=split, progress=progress)
    else:
        raise OvssError(f"{name} is read directly; only context and coco-object are converted")
    typer.echo(f"{count} labels are in {folder}")
