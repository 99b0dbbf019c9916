"""`ovss doctor`: what is installed and found, and the command for what is missing.

Every check is a function that returns rows and changes nothing; only `device_rows` imports torch,
and nothing comes from the network.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from ovsslib.cli._common import debugging, new_app, plain_output
from ovsslib.errors import OvssError
from ovsslib.vlm import MICRO_MODELS

app = new_app()

OLDEST = (3, 11)
"""The first version of Python that will do."""
PURPOSES = {
    "dask": "runs spread over a cluster",
    "dask-jobqueue": "runs through SLURM",
    "onnx": "ovss export",
    "onnxruntime": "ovss export",
    "onnxscript": "ovss export",
    "openai": "class names from a GPT-4o server",
    "optuna": "tuning",
    "pycocotools": "COCO's data sets",
    "seaborn": "some figures",
}
HUB_MODELS = {
    "Salesforce/blip-itm-large-flickr": "the paper's BLIP",
    "Salesforce/blip-itm-large-coco": "BLIP",
    "Salesforce/blip-itm-base-flickr": "BLIP, smaller",
    "Salesforce/blip-itm-base-coco": "BLIP, smaller",
    "BridgeTower/bridgetower-large-itm-mlm-itc": "BridgeTower",
    "BridgeTower/bridgetower-base-itm-mlm": "BridgeTower, smaller",
}
"""Hub id -> what it is."""
LAVIS_FILE = "model_large_retrieval_flickr.pth"
_LAVIS_URL = f"https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/{LAVIS_FILE}"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# A checkpoint needs one file of each group; an index stands for the parts of a large model.
_FILES: tuple[tuple[str, ...], ...] = (
    ("config.json",),
    (*_WEIGHTS, *(f"{name}.index.json" for name in _WEIGHTS)),
    ("tokenizer.json", "vocab.txt", "vocab.json"),
)
_CLIP_FILES = (("open_clip_config.json",), ("open_clip_model.safetensors",), ("tokenizer.json",))
SHIPPED: dict[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(MICRO_MODELS, _FILES),
    **dict.fromkeys(("micro-clip", "micro-clippy"), _CLIP_FILES),
    **dict.fromkeys(("micro-dino", "micro-pacl", "micro-tcl"), _FILES[:2]),
}
"""Model that comes with the project -> the files that it needs."""
DATA_COMMANDS = {
    "diorama": "ovss diorama make --split val --n 200 --out {shipped}",
    "voc": "ovss data download voc",
    "context": "ovss data download context && ovss data convert context",
    "coco-object": "ovss data download coco-object",
    "coco-object-instances": "ovss data download coco-object-instances",
    "coco-stuff": "ovss data download coco-stuff",
    "ade20k": "ovss data download ade20k",
}
"""Data set -> what gets it."""


@dataclass(frozen=True)
class Row:
    """One finding.

    Attributes:
        area: `"machine"`, `"packages"`, `"models"`, `"data"` or `"device"`.
        name: What was looked for.
        state: `"ok"`; `"missing"`; or `"broken"`: there, but old, incomplete or unusable.
        detail: Version, folder, or what it is for.
        required: Whether the shipped demo (micro-blip on Diorama) needs it.
        command: What gets it, ready to be pasted into a shell; empty where `state` is `"ok"`.
    """

    area: str
    name: str
    state: str
    detail: str = ""
    required: bool = False
    command: str = ""


def healthy(rows: Iterable[Row]) -> bool:
    """Whether all that the shipped demo needs is there.

    Example:
        >>> healthy([Row("data", "voc", "missing"), Row("data", "diorama", "ok", required=True)])
        True
    """
    return all(row.state == "ok" for row in rows if row.required)


def machine_rows() -> list[Row]:
    """Python, operating system and processor."""
    from ovsslib.io.provenance import cpus, processor

    new = sys.version_info[:2] >= OLDEST
    version = platform.python_version()
    wanted = "" if new else f", {'.'.join(map(str, OLDEST))} or newer is needed"
    command = "" if new else "conda env create -f environment.yml"
    python = Row("machine", "python", "ok" if new else "broken", version + wanted, True, command)
    system = Row("machine", "system", "ok", f"{platform.system()} {platform.machine()}")
    return [python, system, Row("machine", "processor", "ok", f"{processor()}, {cpus()} usable")]


def package_rows(requirements: Iterable[str] | None = None) -> list[Row]:
    """The packages that ovsslib needs or can use, by their metadata: nothing is imported.

    Args:
        requirements: Lines as in a package's metadata (`"openai>=1.50; extra == 'full'"`); None
            takes ovsslib's own.

    Returns:
        A row per package, those of the core first; the extra `dev` is left out.
    """
    from packaging.requirements import Requirement

    rows = []
    if requirements is None:
        try:
            requirements = metadata.requires("ovsslib") or []
            rows.append(Row("packages", "ovsslib", "ok", metadata.version("ovsslib"), True))
        except metadata.PackageNotFoundError:
            requirements, detail = [], "runs from its folder, uninstalled"
            command = "python -m pip install -e ."
            rows.append(Row("packages", "ovsslib", "missing", detail, True, command))
    needs = [(Requirement(line), line.partition(";")[0].strip()) for line in requirements]
    needs = [(need, text) for need, text in needs if '"dev"' not in str(need.marker)]
    rows += [_package(*pair) for pair in sorted(needs, key=lambda n: "extra" in str(n[0].marker))]
    try:
        rows.append(Row("packages", "salesforce-lavis", "ok", metadata.version("salesforce-lavis")))
    except metadata.PackageNotFoundError:
        detail = "optional, in an environment of its own: LAVIS as a backend"
        command = "make install-lavis"
        rows.append(Row("packages", "salesforce-lavis", "missing", detail, command=command))
    return rows


def _package(need: Any, text: str) -> Row:
    """The row of one requirement, as `packaging` reads it and as it is written."""
    core, limits = "extra" not in str(need.marker), str(need.specifier)
    command = f"python -m pip install '{text}'"
    try:
        version = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        purpose = PURPOSES.get(need.name, "the notebooks and the book")
        detail = "required" if core else f"optional: {purpose}"
        return Row("packages", need.name, "missing", detail, core, command)
    if need.specifier.contains(version, prereleases=True):
        return Row("packages", need.name, "ok", version, core)
    return Row("packages", need.name, "broken", f"{version}, needs {limits}", core, command)


def model_rows() -> list[Row]:
    """Which checkpoints are on this machine: shipped ones, the hub's cache, LAVIS's file."""
    from ovsslib.io.download import hub_snapshot
    from ovsslib.vlm import checkpoint_roots

    rows = []
    for name, files in SHIPPED.items():
        folders = [root / name for root in checkpoint_roots() if (root / name).is_dir()]
        first, command = folders[0] if folders else None, f"ovss train {name}"
        row = _checkpoint(name, first, "shipped with the project", command, files)
        rows.append(row)
    for repo, what in HUB_MODELS.items():
        rows.append(_checkpoint(repo, hub_snapshot(repo), what, f"hf download {repo}"))
    return [*rows, _lavis_row()]


def _checkpoint(
    name: str,
    folder: Path | None,
    what: str,
    command: str,
    files: tuple[tuple[str, ...], ...] = _FILES,
) -> Row:
    """The row of a folder that should hold a model."""
    required = name == "micro-blip"
    if folder is None:
        return Row("models", name, "missing", what, required, command)
    for group in files:
        # A link whose target the hub's library has not finished is not a file.
        if not any((folder / f).is_file() and (folder / f).stat().st_size for f in group):
            detail = f"{folder} lacks {' or '.join(group)}"
            return Row("models", name, "broken", detail, required, command)
    return Row("models", name, "ok", str(folder), required)


def _lavis_row() -> Row:
    """LAVIS's own file of the paper's model: in our cache, or where LAVIS keeps it."""
    from ovsslib.io.download import cache_folder

    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or Path(cache, "torch"))
    for folder in [*cache_folder().glob("checkpoints/*"), torch_home / "hub" / "checkpoints"]:
        if (folder / LAVIS_FILE).is_file():
            return Row("models", LAVIS_FILE, "ok", str(folder / LAVIS_FILE))
    detail = "the paper's BLIP in LAVIS's format, read with BERT's tokenizer; --vlm takes its path"
    target = shlex.quote(str(cache_folder() / "checkpoints" / "lavis" / LAVIS_FILE))
    tokenizer = "hf download google-bert/bert-base-uncased tokenizer.json"
    command = f"curl -fL --create-dirs -o {target} {_LAVIS_URL} && {tokenizer}"
    return Row("models", LAVIS_FILE, "missing", detail, command=command)


def data_rows() -> list[Row]:
    """Which data sets are found, and whether images and masks of their split `val` are there."""
    from ovsslib.datasets import FILES

    return [_data_set(name) for name in FILES]


def _data_set(name: str) -> Row:
    from ovsslib.datasets import load_dataset
    from ovsslib.paths import data as shipped

    required = name == "diorama"
    command = DATA_COMMANDS.get(name, "").replace("{shipped}", str(shipped("diorama")))
    if not required and not os.environ.get("OVSS_DATA"):
        command = f'export OVSS_DATA="$HOME/data" && {command}'
    try:
        data = load_dataset(name)
    except OvssError as error:
        return Row("data", name, "missing", " ".join(str(error).split()), required, command)
    count = len(data.ids)
    files = ((data.image_path(each), data.label_path(each)) for each in data.ids)
    lacking = sum(any(p is not None and not p.is_file() for p in pair) for pair in files)
    if lacking:
        detail = f"{data.root} lacks images or masks of {lacking} of {count} in {data.split}"
        return Row("data", name, "broken", detail, required, command)
    detail = f"{count} images in {data.split}, {data.root}"
    expected = data.layout.expected.get(data.split, (count,))
    if count not in expected:
        detail += f"; {' or '.join(map(str, expected))} are usual"
    return Row("data", name, "ok", detail, required)


def device_rows() -> list[Row]:
    """What can compute, and in which types: a small product is computed in each."""
    command = "python -m pip install --force-reinstall torch torchvision"
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        return [Row("device", "torch", "broken", f"cannot be imported: {reason}", True, command)]
    rows = [Row("device", "torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")]
    rows.append(Row("device", "cpu", "ok", _types("cpu"), required=True))
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        detail = f"{about.name}, {about.total_memory / 2**30:.0f} GiB; {_types(f'cuda:{number}')}"
        rows.append(Row("device", f"cuda:{number}", "ok", detail))
    if torch.backends.mps.is_available():
        rows.append(Row("device", "mps", "ok", _types("mps")))
    return rows


def _types(device: str) -> str:
    """The types in which a device multiplies matrices."""
    import torch

    able = []
    for name in ("float32", "bfloat16", "float16"):
        try:
            square = torch.ones(2, 2, dtype=getattr(torch, name), device=device)
            if float((square @ square).sum()) == 8:
                able.append(name)
        except (RuntimeError, TypeError):
            continue
    return ", ".join(able)


@app.command()
def doctor(
    ctx: typer.Context,
    *,
    as_json: bool = typer.Option(False, "--json", help="Print the rows as JSON."),
) -> None:
    r"""Show packages, machine, device, checkpoints and data sets, and how to get what is missing.

    Below each thing that is missing stands the command that gets it. Nothing is changed and nothing
    comes from the network. The exit status is 1 when the shipped demo (micro-blip on Diorama)
    lacks something, else 0; optional things do not count.

    \b
    Examples:
      ovss doctor
      ovss doctor --json > machine.json
      ovss doctor --json | jq -r '.rows[] | select(.state != "ok") | .command'
    """
    # The device comes last: it alone imports torch.
    checks = (machine_rows, package_rows, model_rows, data_rows, device_rows)
    with plain_output(debug=debugging(ctx)):
        rows = list(itertools.chain.from_iterable(check() for check in checks))
    if as_json:
        record = {"ok": healthy(rows), "rows": [asdict(row) for row in rows]}
        typer.echo(json.dumps(record, indent=1))
    else:
        width = max(len(row.name) for row in rows)
        for area, group in itertools.groupby(rows, key=lambda row: row.area):
            typer.echo(area)
            for row in group:
                typer.echo(f"  {row.state:<8}{row.name:<{width}}  {row.detail}".rstrip())
                if row.command:
                    typer.echo(f"{'':10}$ {row.command}")
        lacking = [row.name for row in rows if row.required and row.state != "ok"]
        words = f"lacks: {', '.join(lacking)}" if lacking else "has all it needs"
        typer.echo(f"The shipped demo {words}.")
    if not healthy(rows):
        raise typer.Exit(1)
