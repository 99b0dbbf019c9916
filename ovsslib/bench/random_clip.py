"""CLIP ViT-B/16 and DINO ViT-B/16 with random weights, as files in the forms that are shipped.

Methods on a CLIP of open_clip read them as they read any folder, so that what is measured is what a
user has. The tokenizer is micro-clip's (see `ovsslib.bench.random_peers`), the table of embeddings
has CLIP's size.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import ovsslib
from ovsslib.bench.random_models import SEED
from ovsslib.methods import BESIDE, DEFAULTS, METHODS
from ovsslib.paths import data

CLIP: dict[str, dict[str, int]] = {
    "vision_cfg": {
        "image_size": 224, "patch_size": 16, "width": 768, "layers": 12, "head_width": 64,
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}  # fmt: skip
"""OpenAI's ViT-B/16, in open_clip's words."""
SHARED = 512
"""Width E of the space that its images and texts share."""
DINO: dict[str, Any] = {
    "img_size": [224, 224], "patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12,
}  # fmt: skip
"""Facebook's DINO ViT-B/16, in timm's words."""
ON_CLIP = tuple(name for name in METHODS if name not in DEFAULTS and name != "reco")
"""Methods on a CLIP; ReCo is left out, whose archive would have to be encoded first."""


def write_clip(folder: Path) -> Path:
    """Write a CLIP with random weights, always the same, in open_clip's form.

    Args:
        folder: It is made.

    Returns:
        The folder.
    """
    import open_clip

    source = data("checkpoints", "micro-clip")
    shutil.copytree(
        source, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md", "training.json")
    )
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    model, side = config["model_cfg"], CLIP["vision_cfg"]["image_size"]
    model["embed_dim"] = SHARED
    for tower, sizes in CLIP.items():
        model[tower] |= sizes
    config["preprocess_cfg"]["size"] = side
    path.write_text(json.dumps(config), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        drawn = open_clip.CLIP(**model)
    save_file(drawn.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def write_dino(folder: Path) -> Path:
    """The same of a DINO, in timm's form."""
    import timm

    folder.mkdir(parents=True)
    source = data("checkpoints", "micro-dino") / "config.json"
    config = json.loads(source.read_text(encoding="utf-8"))
    config["model_args"] |= DINO
    config |= {"architecture": "vit_base_patch16_224", "num_features": DINO["embed_dim"]}
    config["pretrained_cfg"]["input_size"] = [3, *DINO["img_size"]]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        drawn = timm.create_model(config["architecture"], **config["model_args"])
    save_file(drawn.state_dict(), folder / "model.safetensors")
    return folder


def clip_method(method: str, device: Any = None) -> Any:
    """A method on a random CLIP, and on a random DINO if it needs one.

    Args:
        method: One of `ON_CLIP`.
        device: Such as `"cpu"`; None for the best there is.

    Returns:
        See `ovsslib.load`.
    """
    scratch = tempfile.TemporaryDirectory()
    options: dict[str, Any] = {"vlm": str(write_clip(Path(scratch.name, "vit-b-16-random")))}
    if "dino" in BESIDE.get(method, {}):
        options["dino"] = str(write_dino(Path(scratch.name, "dino-vitb16-random")))
    found = ovsslib.load(method, device=device, **options)
    weakref.finalize(found, scratch.cleanup)  # the tokenizer is read later
    return found
