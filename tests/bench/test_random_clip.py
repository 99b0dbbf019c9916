"""A CLIP and a DINO with random weights as files: their sizes, and that methods read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from ovsslib.bench import random_clip
from ovsslib.bench.random_clip import CLIP, DINO, ON_CLIP, write_clip, write_dino
from ovsslib.methods import BESIDE
from support.helpers import ovss


def millions(path: Path) -> float:
    """Numbers in a file of weights."""
    with safe_open(path, "pt") as file:
        return sum(file.get_tensor(key).numel() for key in file.keys()) / 1e6  # noqa: SIM118


def test_sizes_are_the_published_ones(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip") / "open_clip_model.safetensors"
    assert millions(clip) == pytest.approx(149.6, rel=0.01), "OpenAI's ViT-B/16"
    dino = write_dino(tmp_path / "dino") / "model.safetensors"
    assert millions(dino) == pytest.approx(85.8, rel=0.01), "DINO's ViT-B/16"


@pytest.mark.parametrize("method", ["maskclip", "proxyclip"])
def test_methods_read_them(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shallow = {tower: sizes | {"layers": 2} for tower, sizes in CLIP.items()}
    monkeypatch.setattr(random_clip, "CLIP", shallow)
    monkeypatch.setattr(random_clip, "DINO", DINO | {"depth": 2})
    done: Any = ovss(
        *"bench peers --random --images 1 --batch 1 --repeat 1 --no-memory --device cpu".split(),
        *("--json", "--methods", method),
    )
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert row["vlm"] == "vit-b-16-random"
    assert row["parameters"] > (4e7 if method == "maskclip" else 5e7)


def test_all_methods_on_a_clip_have_one() -> None:
    assert {"maskclip", "gem", "resclip", *BESIDE} - {"reco"} <= set(ON_CLIP)
    assert not {"reco", "pnp-ovss", "sam3", "tcl"} & set(ON_CLIP)
