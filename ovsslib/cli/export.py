"""`ovss export`: a model for programs without PyTorch."""

from __future__ import annotations

from pathlib import Path

import typer

from ovsslib.cli._common import debugging, new_app, plain_output

app = new_app()


@app.command()
def export(
    ctx: typer.Context,
    *,
    vlm: str = typer.Option("micro-blip", help="A BLIP: a name, a folder or a hub id."),
    image_size: int | None = typer.Option(
        None, min=1, help="Side of the input in pixels; without it, the model's own."
    ),
    out: Path = typer.Option(Path("export"), help="Folder of the two files."),
) -> None:
    r"""Write a BLIP as one ONNX file that gives attention and its gradient.

    The files are model.onnx (pixels and token ids to match score, attention of all layers and
    heads, gradient) and model.json (sizes, colours, tokenizer). The book's page "Try it" runs them
    in the browser.

    \b
    Examples:
      ovss export
      ovss export --vlm Salesforce/blip-itm-base-coco --out blip
    """
    from ovsslib.io.files import check_folder, write_atomic
    from ovsslib.io.json import dumps

    check_folder(out)
    with plain_output(debug=debugging(ctx)):
        from ovsslib.vlm import load_vlm
        from ovsslib.vlm.export import describe, export_onnx

        matcher = load_vlm(vlm, "cpu")
        content = export_onnx(matcher, image_size)
    write_atomic(out / "model.onnx", content)
    card = describe(matcher) | {"image_size": image_size or matcher.image_size}
    write_atomic(out / "model.json", dumps(card))
    typer.echo(f"{out / 'model.onnx'}: {len(content) / 1e6:.1f} MB")
