"""`ovss segment`: label maps, overlays and JSON for images."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ovsslib.cli._common import (
    debugging,
    new_app,
    note,
    plain_output,
    progress,
    settings,
    split_names,
)
from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from ovsslib.pnp.result import Segmentation

MOST_CLASSES = 254
"""Label values 1 to 254 are classes; 0 is background and 255 void."""
LONGEST = 230
"""Bytes of a stem: with `-2_overlay.png` a file's name has at most 255."""
ENDINGS = ("_labels.png", "_overlay.png", ".json")

app = new_app()


@app.command()
def segment(
    ctx: typer.Context,
    *,
    images: list[str] = typer.Argument(
        ..., metavar="IMAGE…", help="Image files, folders or quoted patterns such as 'in/*.jpg'."
    ),
    classes: str = typer.Option(
        ..., "--classes", "-c", help='Class names, separated by commas: "house, traffic light".'
    ),
    vlm: str | None = typer.Option(
        None, help="Model: a name, a folder or a hub id; without it, the method's own."
    ),
    preset: str | None = typer.Option(None, help="Named settings; without it, the model's own."),
    change: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change one setting, such as --set crf=false."
    ),
    out: Path = typer.Option(Path("ovss-out"), "--out", "-o", help="Folder for the results."),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace files that this command did not write."
    ),
    method: str = typer.Option("pnp-ovss", help="Segmentation method."),
    dtype: str | None = typer.Option(None, help="float32 (the default), bfloat16 or float16."),
    device: str | None = typer.Option(
        None, help="Such as cpu or cuda:0; without it, a GPU if any."
    ),
) -> None:
    r"""Segment images into the classes you name.

    Writes for each image <stem>_labels.png (palette PNG: 0 background, k the k-th class),
    <stem>_overlay.png (colours and legend) and <stem>.json (shares, scores, settings, provenance).
    Its own files of earlier calls are replaced. An image that cannot be read, or one of whose files
    would replace somebody else's, is reported, the rest is done, and the exit status is 1.

    \b
    Examples:
      ovss segment photo.jpg --classes "house, traffic light, grass"
      ovss segment holiday/ 'more/*.png' -c "boat, water, sky" --out results
      ovss segment photo.jpg -c "cat, grass" --set crf=false --set blur=0.02
    """
    from ovsslib.io.files import check_folder

    with plain_output(debug=debugging(ctx)):
        from ovsslib.pnp.prompt import check_classes

        names = check_classes(split_names(classes))
        if len(names) > MOST_CLASSES:
            raise OvssError(
                f"{len(names)} classes: a label PNG holds at most {MOST_CLASSES} classes; "
                "give fewer, or segment in Python"
            )
        paths, failed = _find(images)
        check_folder(out)
        stems = output_stems(paths)
        import ovsslib
        from ovsslib.methods import default_model

        given = vlm or default_model(method)
        model = ovsslib.load(
            method, vlm=given, preset=preset, device=device, dtype=dtype, **settings(change)
        )
        done = _segment_all(model, given, paths, stems, names, out, overwrite=overwrite)
    failed += len(paths) - done
    typer.echo(f"{done} of {len(paths)} images segmented into {out}")
    if failed:
        raise typer.Exit(1)


def _segment_all(
    model: Any,
    vlm: str,
    paths: Sequence[Path],
    stems: Sequence[str],
    names: Sequence[str],
    out: Path,
    *,
    overwrite: bool,
) -> int:
    """Segment and write images one by one; returns how many were."""
    from ovsslib.evaluate.run import compute_place
    from ovsslib.io.images import open_image
    from ovsslib.io.provenance import provenance

    done = 0
    matcher = getattr(model, "matcher", None)
    facts = provenance(**compute_place(matcher))
    for path, stem in progress(list(zip(paths, stems, strict=True)), "segment", len(paths)):
        if stem != path.stem:
            note(f"note: {path} is written as {stem}: its name is another image's, or too long")
        try:
            if not overwrite:
                _check_own(out, stem, path)
            image = open_image(path)
        except OvssError as error:
            note(f"error: {error}")
            continue
        try:
            result = model.segment(image, names)
        except OvssError as error:
            raise OvssError(f"{path.name}: {error}") from error
        write_segmentation(
            result,
            out,
            stem,
            path.name,
            {
                "method": model.name,
                # The model's own name: what was given may be a path.
                "vlm": str(getattr(matcher, "name", Path(vlm).name)),
                "config": model.config.to_dict(),
                "config_hash": model.config.hash(),
                "provenance": facts,
            },
        )
        done += 1
    return done


def write_segmentation(
    result: Segmentation, out: Path, stem: str, source: str, record: dict[str, Any]
) -> None:
    """Write the three files of one image, the JSON last.

    Args:
        result: The segmentation.
        out: Folder.
        stem: Name of the files.
        source: The image's file name, for the JSON.
        record: What else the JSON holds.
    """
    from PIL.PngImagePlugin import PngInfo

    from ovsslib.draw.overlay import overlay_image, shares
    from ovsslib.io.files import write_atomic
    from ovsslib.io.images import save_label_png
    from ovsslib.io.json import dumps

    labels = result.labels
    mark = PngInfo()
    mark.add_text("Software", "ovsslib")
    save_label_png(labels + 1, out / f"{stem}_labels.png", mark)
    overlay = overlay_image(result.image, labels, result.classes)
    # The default level 6 takes three times as long and saves an eighth.
    write_atomic(
        out / f"{stem}_overlay.png",
        lambda file: overlay.save(file, format="PNG", compress_level=2, pnginfo=mark),
    )
    share = shares(labels, len(result.classes))
    classes = [
        {"label": k, "name": name, "share": share[k], "score": result.scores[k - 1]}
        for k, name in enumerate(result.classes, start=1)
    ]
    text = dumps(
        {
            "schema": 1,
            "image": source,
            "size": [labels.shape[1], labels.shape[0]],
            "match": result.match,
            "classes": classes,
            "background": share[0],
            **record,
        }
    )
    write_atomic(out / f"{stem}.json", text)


def output_stems(paths: Sequence[Path]) -> list[str]:
    """A different name for each image's results: its stem (cut), or stem-2, stem-3… if taken.

    Example:
        >>> output_stems([Path("a/x.jpg"), Path("b/x.png"), Path("x-2.jpg"), Path("y.jpg")])
        ['x', 'x-3', 'x-2', 'y']
    """
    own = [_cut(path.stem) for path in paths]
    # Some file systems ignore letter case.
    wanted = {stem.casefold() for stem in own}
    taken: set[str] = set()
    stems = []
    for first in own:
        stem, number = first, 1
        while stem.casefold() in taken or (number > 1 and stem.casefold() in wanted):
            number += 1
            stem = f"{first}-{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _cut(stem: str) -> str:
    """A stem with at most `LONGEST` bytes."""
    data = os.fsencode(stem)
    return stem if len(data) <= LONGEST else data[:LONGEST].decode("utf-8", "ignore")


def _find(images: Sequence[str]) -> tuple[list[Path], int]:
    """The images, without results of earlier calls, and how many of the names gave none.

    Raises:
        OvssError: There is no image at all.
    """
    from ovsslib.io.images import find_images

    paths: dict[Path, None] = {}
    wrong: list[OvssError] = []
    for name in images:
        try:
            matches = find_images([name])
        except OvssError as error:
            wrong.append(error)
            continue
        paths |= {p: None for p in matches if p == Path(name) or not _is_own_png(p)}
    if not paths and wrong:
        raise wrong[0]
    for each in wrong:
        note(f"error: {each}")
    return list(paths), len(wrong)


def _check_own(out: Path, stem: str, image: Path) -> None:
    """Refuse to replace a file that this command did not write."""
    for path in (out / f"{stem}{ending}" for ending in ENDINGS):
        own = _is_own_json if path.suffix == ".json" else _is_own_png
        # A named pipe would be waited for.
        if os.path.lexists(path) and not (os.path.isfile(path) and own(path)):
            raise OvssError(
                f"{path}: exists, and ovss segment did not write it; {image} is left out: choose "
                "another --out, or give --overwrite"
            )


def _is_own_json(path: Path) -> bool:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"image", "match", "config_hash"} <= record.keys()


def _is_own_png(path: Path) -> bool:
    from PIL import Image

    from ovsslib.io.images import DAMAGE

    if not path.name.endswith(ENDINGS[:2]):
        return False
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == "ovsslib"
    except DAMAGE:
        return False
