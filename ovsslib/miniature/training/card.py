"""The model card and the learning curve that are shipped with a micro model."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovsslib.errors import OvssError

WHAT = {
    "micro-blip": "BLIP for image-text retrieval (`transformers`), small",
    "micro-bridgetower": "BridgeTower for image-text retrieval (`transformers`), small",
    "micro-clip": "CLIP ViT (`open_clip`), small",
    "micro-dino": "DINO ViT (`timm`), small",
    "micro-clippy": "CLIPpy (`open_clip`), small",
    "micro-tcl": "TCL's head on micro-clip",
    "micro-groupvit": "GroupViT (`transformers`), small",
    "micro-zeroseg": "ZeroSeg's student of micro-clip",
    "micro-maskclip-plus": "MaskCLIP+'s student of micro-clip",
    "micro-segclip": "SegCLIP (`open_clip` with regions), small",
    "micro-ovsegmentor": "OVSegmentor (`transformers`' GroupViT), small",
    "micro-pacl": "PACL's embedder on micro-clip",
    "micro-after-viewco": "a reconstruction after ViewCo (`transformers`' GroupViT), small",
    "micro-after-vil-seg": "a reconstruction after ViL-Seg (`open_clip` with clusters), small",
}


def thin_curve(records: list[dict[str, Any]], points: int = 150) -> list[dict[str, Any]]:
    """Average the curve down to about `points` records; held-out figures stay as they are."""
    width = max(1, len(records) // points)
    out = []
    for start in range(0, len(records), width):
        part = records[start : start + width]
        names = [n for n in part[0] if n not in ("step", "seconds", "rate")]
        means = {n: round(sum(r[n] for r in part if n in r) / len(part), 5) for n in names}
        out.append({"step": part[-1]["step"], **means})
    return out


def finish(
    folder: Path,
    out: Path | None,
    name: str,
    begun: str,
    cost: Mapping[str, float] | None = None,
) -> Path:
    """Put card and curve beside the saved model and copy it to `out`.

    Args:
        folder: The run's folder, with `model/`, `curve.jsonl` and `heldout.jsonl`.
        out: Where the shipped model goes; None leaves it in `folder/model`.
        name: One of `WHAT`.
        begun: Date of the run.
        cost: Of a step, see `ovsslib.bench.training.step_cost`; None where it was not measured.

    Raises:
        OvssError: The run has no finished model.
    """
    model = folder / "model"
    if not model.is_dir():
        raise OvssError(f"{folder} holds no trained model: run ovss train {name} to its end")
    records = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    held = [json.loads(line) for line in (folder / "heldout.jsonl").read_text().splitlines()]
    recipe = json.loads((folder / "recipe.json").read_text())
    seconds = sum(record["seconds"] for record in records)
    training = {
        "model": name,
        "date": begun,
        "recipe": recipe,
        "hardware": f"{os.cpu_count()} CPU cores ({platform.machine()}), no accelerator used",
        "training_minutes": round(seconds / 60, 1),
        "step": dict(cost) if cost else None,
        "heldout": held,
        "curve": thin_curve(records),
    }
    (model / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    (model / "README.md").write_text(_card(name, training))
    if out is None or out.resolve() == model.resolve():
        return model
    shutil.copytree(model, out, dirs_exist_ok=True)
    return out


def _card(name: str, training: dict[str, Any]) -> str:
    last = training["heldout"][-1]
    schedule, recipe = training["recipe"]["schedule"], training["recipe"]["recipe"]
    figures = "\n".join(
        f"| {key.replace('_', ' ')} | {value} |" for key, value in last.items() if key != "step"
    )
    keys = ("steps", "batch", "rate", "matrix_rate", "dtype", "seed")
    options = " ".join(
        f"--{key.replace('_', '-')} {schedule[key]}" for key in keys if key in schedule
    )
    options += f" --pictures {recipe['pictures']} --close-ups {recipe.get('close_ups', 2)}"
    options += " --known-colours" if recipe.get("known_colours") else ""
    optimiser = "Muon and AdamW" if schedule.get("matrix_rate") else "AdamW"
    size = training["recipe"]["size"]
    parts = [f"{key.replace('_', ' ')} {value}" for key, value in size.items()]
    architecture = ", ".join(parts)
    if name == "micro-dino":
        supervised, explained = _of_images(recipe)
    elif "options" in training["recipe"]:
        supervised, explained = _of_systems(recipe)
    else:
        supervised, explained = _of_captions(recipe)
    return f"""# {name.split(maxsplit=1)[0]}

{WHAT[name.split(maxsplit=1)[0]]}: {architecture}. Weights are stored in float16.

## Data
{recipe["pictures"]:,} drawn Diorama images (one in {recipe.get("close_ups", 2)} a close-up of
one thing){supervised}

## Recipe
`ovss train {name} {options}`
({optimiser}, one cycle). {training["training_minutes"]} minutes on {training["hardware"]},
{training["date"]}.
{_step(training)}The learning curve is in `training.json`.

## Figures on held-out images
| figure | value |
|---|---|
{figures}

{explained}

## Use
For tests, tutorials and regression figures on Diorama. It knows nothing about real photographs.
"""


def _step(training: dict[str, Any]) -> str:
    """What a step costs, in a sentence."""
    cost = training["step"]
    if not cost:
        return ""
    kind = training["recipe"]["schedule"]["dtype"]
    return (
        f"A step is {cost['flops'] / 1e9:.0f} GFLOP, done at {100 * cost['share']:.0f} % of the "
        f"rate\nat which the machine multiplies large matrices in {kind}.\n"
    )


def _of_captions(recipe: dict[str, Any]) -> tuple[str, str]:
    """What a model of images and captions was supervised with, and what its figures mean."""
    false = ", nor in a false one" if recipe.get("known_colours") else ""
    return (
        f""" with eight captions each. Supervision: captions alone. No mask, no box, no image-level
class list; a word swapped into a false caption is one that none of the image's own captions
names (the list of class names says which words can be swapped). Six (colour, thing) pairs occur in
no true caption of training{false}.""",
        f"""On {recipe["heldout"]:,} new scenes of several things, and (novel) on as many in each of
which a thing has a colour that training never shows it in; "mixed" figures, watched in earlier
runs, are on new scenes some of which hold such a thing. Match accuracy: a true caption and one
with a single class name swapped, judged by the sign of the match logit minus the no-match logit.
Pairs ranked: the true one scores higher. Image and caption at 1: retrieval among 50 images and
their longest captions (chance 0.02).""",
    )


def _of_systems(recipe: dict[str, Any]) -> tuple[str, str]:
    """The same for a system that is trained for segmentation."""
    return (
        """ with eight captions each; the module in `ovsslib/trained` says what the system looks at.
No mask, no box. Six (colour, thing) pairs occur in no caption.""",
        f"""On {recipe["heldout"]:,} new scenes of several things, and (novel) on as many in each of
which a thing has a colour that training never shows it in. Pairs ranked: a true caption scores
higher than one with a single class name swapped. Image and caption at 1: retrieval among 50 images
and their longest captions (chance 0.02).""",
    )


def _of_images(recipe: dict[str, Any]) -> tuple[str, str]:
    """The same for a model of images alone."""
    return (
        ". Supervision: none. No caption, no mask, no box, no class.",
        f"""On {recipe["heldout"]:,} new scenes of several things. Loss: cross-entropy of the
teacher's output for a crop and the student's for another, in nats; entropy: of the teacher's
outputs; used: how many prototypes its outputs use, as a share. Crop at 1: images one crop of which
finds the other among those of all images. Mirror at 1: patches that find themselves among all of
the mirrored image.""",
    )
