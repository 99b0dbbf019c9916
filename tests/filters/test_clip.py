"""CLIP as a filter, with the shipped micro-clip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters import get_filter
from ovsslib.filters.base import Oracle
from ovsslib.filters.clip import Clip, load_open_clip, needs_quick_gelu
from ovsslib.filters.thresholded import TUNED, best_threshold, score_all
from support.helpers import ROOT

FOLDER = ROOT / "data/checkpoints/micro-clip"


def test_scores_are_open_clips_softmax_over_two_texts() -> None:
    data = load_dataset("diorama", split="tune")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    class_filter = Clip()
    for name in data.ids[:2]:
        scores = class_filter.scores(data, name)
        assert scores.shape == (20,)
        for k in (0, 13, 19):
            texts = tokenize(["a picture", f"a picture of a {data.classes[k]}"])
            with torch.no_grad():
                image = model.eval().encode_image(preprocess(data.image(name))[None])
                logits = model(preprocess(data.image(name))[None], texts)
                assert image.shape[0] == 1
                similarity = logits[2] * logits[0] @ logits[1].T
            assert scores[k] == pytest.approx(float(similarity.softmax(-1)[0, 1]), abs=1e-5)


def test_it_knows_more_than_chance_and_its_threshold_is_the_best_on_tune() -> None:
    data = load_dataset("diorama", split="tune")
    scores, truth = score_all(Clip(), data, data.ids)
    threshold, best = best_threshold(scores, truth)
    kept = scores > TUNED["micro-clip"]
    f1 = 2 * (kept & truth).sum() / (kept.sum() + truth.sum())
    assert f1 == pytest.approx(best, abs=0.005)
    assert best > 0.6  # every class always: 0.42
    assert f1 > 2 * truth.sum() / (truth.size + truth.sum()) + 0.15
    assert threshold == pytest.approx(TUNED["micro-clip"], abs=0.01)


def test_as_a_filter(tmp_path: Path) -> None:
    data = load_dataset("diorama", split="tune")
    name = data.ids[0]
    class_filter = get_filter("clip")
    scores = class_filter.scores(data, name)
    assert class_filter(data, name) == tuple(np.flatnonzero(scores > TUNED["micro-clip"]) + 1)
    assert set(class_filter(data, name)) & set(Oracle()(data, name))
    shutil.copytree(FOLDER, tmp_path / "mine")
    mine = get_filter(f"clip:{tmp_path}/mine", {"threshold": 0.3})
    assert np.array_equal(mine.scores(data, name), scores)
    assert mine.described["model"] == "mine"
    assert str(tmp_path) not in str(mine.described)
    assert class_filter.described["threshold"] == TUNED["micro-clip"]
    assert get_filter("clip:some/other").limit == 0.5


@pytest.mark.parametrize("name", ["micro-clop", "some/clip", "ViT-B-32", "ViT-B-32:openai"])
def test_models_that_are_not_here(name: str) -> None:
    with pytest.raises(OvssError, match=r"CLIP model .* is not on this machine.*; give micro-clip"):
        load_open_clip(name)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("preprocess_cfg", "mean"), ["a", "b", "c"], "image_mean must be three numbers"),
        (("preprocess_cfg", "std"), [0, 0, 0], "image_std must be three numbers"),
        (("model_cfg", "vision_cfg", "width"), 10**9, "width must be a positive whole number"),
        (("model_cfg", "vision_cfg", "width"), 100_000, "weights, but"),
        (("model_cfg", "text_cfg", "layers"), -1, "layers must be a positive whole number"),
        (("model_cfg", "text_cfg", "context_length"), 20_000, "weights, but"),
        (("model_cfg", "text_cfg"), None, "cannot be loaded"),
        (("model_cfg",), [], "cannot be loaded"),
    ],
)
def test_damaged_settings(tmp_path: Path, keys: tuple[str, ...], value: Any, message: str) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "copy")
    whole = fields = json.loads((folder / "open_clip_config.json").read_text())
    for key in keys[:-1]:
        fields = fields[key]
    fields[keys[-1]] = value
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    with pytest.raises(OvssError, match=message) as caught:
        load_open_clip(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_its_tokenizer(tmp_path: Path) -> None:
    """open_clip would make an empty one in its place, to which all words are the same."""
    folder = shutil.copytree(FOLDER, tmp_path / "copy")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(OvssError, match=r"copy holds no tokenizer\.json"):
        load_open_clip(str(folder))


def test_weights_from_a_file(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="cannot be loaded"):
        load_open_clip("No-Such-Architecture:laion", download=True)
    shutil.copytree(FOLDER, tmp_path / "broken")
    (tmp_path / "broken/open_clip_model.safetensors").write_bytes(b"junk")
    with pytest.raises(OvssError, match="cannot be loaded"):
        load_open_clip(str(tmp_path / "broken"))


@pytest.mark.parametrize(
    ("architecture", "weights", "quick"),
    [
        ("ViT-B-16", "openai", True),
        ("ViT-B-16-quickgelu", "openai", True),
        ("ViT-B/16", "openai", True),
        ("ViT-L-14-336", "openai", True),
        ("ViT-B-16", "metaclip_fullcc", True),
        ("ViT-B-16", "laion2b_s34b_b88k", False),
        ("ViT-B-16", "weights.pt", False),
        ("ViT-B-16-quickgelu", "weights.pt", False),
        ("No-Such-Architecture", "openai", False),
        ("local-dir:models/mine", None, False),
    ],
)
def test_the_activation_that_weights_were_trained_with(
    architecture: str, weights: str | None, quick: bool
) -> None:
    assert needs_quick_gelu(architecture, weights) == quick


def test_quick_gelu_for_weights_that_were_trained_without() -> None:
    with pytest.raises(OvssError, match="GELU, not QuickGELU; give ViT-B-16:laion2b_s34b_b88k"):
        load_open_clip("ViT-B-16-quickgelu:laion2b_s34b_b88k", download=True)


def test_every_weight_of_open_clip_gets_its_activation() -> None:
    """Where the architecture has it anyway, nothing needs to be said."""
    for architecture, weights in open_clip.list_pretrained():
        trained = bool(open_clip.get_pretrained_cfg(architecture, weights).get("quick_gelu"))
        assert needs_quick_gelu(architecture, weights) == trained


@pytest.mark.filterwarnings("error:QuickGELU mismatch")
@pytest.mark.parametrize("quick", [False, True])
def test_the_model_is_built_with_it(monkeypatch: pytest.MonkeyPatch, quick: bool) -> None:
    """With weights that open_clip takes for its own, from a file in place of the network."""
    settings = json.loads((FOLDER / "open_clip_config.json").read_text())["model_cfg"]
    known = {"file": str(FOLDER / "open_clip_model.safetensors"), "quick_gelu": quick}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Micro-Test", settings)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Micro-Test", {"mine": known})
    model, _ = load_open_clip("Micro-Test:mine", download=True)
    kinds = {type(module).__name__ for module in model.modules()}
    assert ("QuickGELU" in kinds) == quick
    assert ("GELU" in kinds) != quick
