"""The same weights through LAVIS's BlipITM and through ovsslib's BLIP: the same maps to 1e-5.

Maps are compared where their largest value is scaled to 1. Nets of ordinary weights are compared in
float32 as they are used; the golden one, whose random weights amplify rounding (two orders of the
same sums differ by 1e-3 in its logits), in float64.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.pnp.pipeline import PnPOVSS, build
from ovsslib.pnp.presets import preset
from ovsslib.pnp.salience import gradcam_map
from ovsslib.vlm import load_vlm
from ovsslib.vlm.lavis.backend import LavisMatcher, watch
from ovsslib.vlm.lavis.backend import build as build_lavis
from support.lavis_models import (
    CASE,
    EXPECTED,
    ROOT,
    TEXTS,
    both,
    golden_pair,
    look,
    pictures,
    scaled_difference,
    write_random,
)

LIMIT = 1e-5
LAYERS = (1, 2, 3)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 heads and 24 x 24 patches: the only shape that LAVIS's own GradCAM works for."""
    folder = tmp_path_factory.mktemp("lavis")
    return write_random(folder / "model_random.pth", seed=11, heads=12, text_layers=3, side=24)


@pytest.fixture(scope="module")
def theirs(file: Path) -> Any:
    return load_vlm(f"lavis:{file}", "cpu")


@pytest.fixture(scope="module")
def ours(file: Path) -> Any:
    return load_vlm(file, "cpu")


def assert_same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    found = {name: scaled_difference(one[name], two[name]) for name in two}
    assert max(found.values()) < LIMIT, found


def test_it_is_lavis_that_computes(theirs: Any, ours: Any) -> None:
    assert isinstance(theirs, LavisMatcher)
    assert type(theirs.model).__mro__[1].__module__.startswith("lavis.models.blip_models.")
    for part in (theirs.model.visual_encoder, theirs.model.text_encoder):
        assert type(part).__module__.startswith("lavis.models.")
    assert (theirs.name, ours.name) == ("lavis:model_random", "model_random")
    for name in ("layers", "heads", "image_size", "patch_size", "max_tokens", "image_mean"):
        assert getattr(theirs, name) == getattr(ours, name)
    assert [theirs.tokenize(text) for text in TEXTS] == [ours.tokenize(text) for text in TEXTS]
    assert not any(weight.requires_grad for weight in theirs.model.parameters())
    assert not theirs.model.training


@pytest.mark.parametrize("layer", LAYERS)
def test_logits_and_maps(theirs: Any, ours: Any, layer: int) -> None:
    pixels = ours.preprocess(pictures())
    assert torch.equal(pixels, theirs.preprocess(pictures()))
    found = look(ours, pixels, layer)
    assert np.ptp(found["logits"][:, 1]) > 0.01, "all texts score alike: nothing is compared"
    assert found["attention"].std(-1).mean() > 0.05 * found["attention"].mean()
    assert_same(look(theirs, pixels, layer), found)


@pytest.mark.parametrize("size", [64, 128])
def test_other_picture_sizes(theirs: Any, ours: Any, size: int) -> None:
    """LAVIS's encoder takes one size; its loader's interpolation is what is compared with."""
    from lavis.models.vit import interpolate_pos_embed

    pixels = ours.preprocess(pictures(), size)
    assert_same(look(theirs, pixels, 2), look(ours, pixels, 2))
    other = build_lavis(replace(theirs.model.sizes, image_size=size)).visual_encoder.eval()
    state = theirs.model.visual_encoder.state_dict()
    state["pos_embed"] = interpolate_pos_embed(state["pos_embed"], other)
    other.load_state_dict(state)
    with torch.no_grad():
        expected = other.forward_features(pixels)
    assert scaled_difference(theirs.encode_images(pixels), expected) < LIMIT


def test_lavis_called_as_lavis_is_called(theirs: Any, ours: Any) -> None:
    """Its forward pass, tokenizer included, gives the logits of the matcher."""
    pixels = ours.preprocess(pictures())
    tokens = ours.encode_images(pixels)
    expected = ours.match(tokens, [ours.tokenize(text) for text in TEXTS], 1).logits
    found = theirs.model({"image": pixels, "text_input": list(TEXTS)}, match_head="itm")
    assert scaled_difference(found, expected) < LIMIT
    assert [theirs.tokenize(text) for text in TEXTS] == [ours.tokenize(text) for text in TEXTS]


@pytest.mark.parametrize("layer", LAYERS)
def test_lavis_own_gradcam(file: Path, ours: Any, layer: int) -> None:
    """``compute_gradcam`` of LAVIS: its hooks, a backward pass through the whole network."""
    from lavis.models.blip_models.blip_image_text_matching import compute_gradcam

    other: Any = load_vlm(f"lavis:{file}", "cpu")
    model = other.model.requires_grad_(True)
    pixels = ours.preprocess(pictures())
    texts = model.tokenizer(list(TEXTS), padding="longest", return_tensors="pt")
    maps, logits = compute_gradcam(model, pixels, list(TEXTS), texts, block_num=layer - 1)
    found = look(ours, pixels, layer)
    assert scaled_difference(logits.detach(), found["logits"]) < LIMIT
    attention = model.text_encoder.encoder.layer[layer - 1].crossattention.self
    assert scaled_difference(attention.get_attention_map().detach(), found["probabilities"]) < LIMIT
    for row, text in enumerate(TEXTS):
        length = len(ours.tokenize(text).ids)
        # LAVIS puts the mean of all behind [ENC]'s map. Of the last layer only [ENC] is not zero.
        tokens = [0, *range(2, length + 1)]
        cams = found["gradcam"][row, :length]
        assert scaled_difference(maps[row][tokens].flatten(1), cams) < LIMIT
        assert cams[1:].any() == (layer < ours.layers)


def test_one_head(theirs: Any, ours: Any) -> None:
    pixels = ours.preprocess(pictures())
    for head in (1, 7, 12):
        maps = []
        for matcher in (theirs, ours):
            texts = [matcher.tokenize(text) for text in TEXTS]
            match = matcher.match(matcher.encode_images(pixels), texts, 2, gradient=True)
            (slope,) = torch.autograd.grad(match.logit.sum(), match.attention)
            maps.append(gradcam_map(match.attention, slope, head).detach())
        assert scaled_difference(*maps) < LIMIT


@pytest.mark.parametrize("salience", ["gradcam", "attention"])
def test_a_full_run(file: Path, theirs: Any, ours: Any, salience: str) -> None:
    """Prompts, four rounds of dropout, threshold, blur and CRF: maps and labels."""
    photos = pictures()
    names = [["cat", "fire hydrant", "grass"], ["hot air balloon"], ["sky", "house"]]
    settings = {"layer": 2, "head": 5, "rounds": 4, "salience": salience, "image_size": None}
    one = build(f"lavis:{file}", "blip", "cpu", **settings)
    two = PnPOVSS(ours, preset("blip", **settings))
    assert isinstance(one.matcher, LavisMatcher)
    results = (photo.maps(photos, names, stages=True) for photo in (one, two))
    for mine, other in zip(*results, strict=True):
        assert abs(mine.match - other.match) < LIMIT
        assert mine.stages is not None
        assert other.stages is not None
        assert (mine.stages["dropped"] == other.stages["dropped"]).all()
        assert mine.stages["dropped"].any()
        assert mine.stages.keys() == other.stages.keys()
        for key in mine.stages.keys() - {"dropped"}:
            assert scaled_difference(mine.stages[key], other.stages[key]) < LIMIT, key
    # The CRF is iterated and steep: of its result the labels are compared, before it the planes.
    for crf in (False, True):
        found = []
        for method in (one, two):
            method.config = method.config.replace(crf=crf)
            found.append(method.segment_batch(photos, names))
        for mine, other in zip(*found, strict=True):
            assert crf or scaled_difference(mine.planes, other.planes) < LIMIT
            assert (mine.labels != other.labels).mean() < 1e-3


def test_golden_weights() -> None:
    theirs, ours = golden_pair()
    pixels = EXPECTED["pixel_values"].double()
    for layer in range(1, CASE["text"]["layers"] + 1):
        texts = tuple(CASE["captions"])
        assert_same(look(theirs, pixels, layer, texts), look(ours, pixels, layer, texts))


def test_the_epsilon_matters() -> None:
    """With transformers' default in the image encoder the maps would not agree."""
    theirs, ours = golden_pair(eps=1e-5)
    pixels = EXPECTED["pixel_values"].double()
    texts = tuple(CASE["captions"])
    one, two = (look(matcher, pixels, CASE["layer_1based"], texts) for matcher in (theirs, ours))
    assert scaled_difference(one["gradcam"], two["gradcam"]) > 10 * LIMIT


@pytest.mark.parametrize("gradient", [False, True])
def test_hooks_are_removed_whatever_happens(theirs: Any, gradient: bool) -> None:
    attention = theirs.model.text_encoder.encoder.layer[0].crossattention.self

    def hooks() -> int:
        return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in attention.modules())

    tokens = theirs.encode_images(theirs.preprocess(pictures(1)))
    match = theirs.match(tokens, [theirs.tokenize("cat")], 1, gradient=gradient)
    assert match.attention.requires_grad is gradient
    assert match.logits.requires_grad is gradient
    assert torch.allclose(match.attention.sum(-1), torch.ones(()), atol=1e-5)
    assert hooks() == 0
    with watch(attention, gradient):
        assert hooks() == 1
    with pytest.raises(RuntimeError):
        theirs.match(tokens[..., 1:], [theirs.tokenize("cat")], 1, gradient=gradient)
    assert hooks() == 0
    with pytest.raises(OvssError, match="layer 4 does not exist"):
        theirs.match(tokens, [theirs.tokenize("cat")], 4)


def test_the_shipped_model() -> None:
    """micro-blip, trained: through LAVIS it finds the same things in the same places."""
    ours: Any = load_vlm("micro-blip", "cpu")
    weights = {lavis_name(name): w for name, w in ours.model.state_dict().items()}
    theirs, _ = both(ours.model.sizes, weights, ours.tokenizer, torch.float32)
    theirs.image_mean, theirs.image_std = ours.image_mean, ours.image_std
    photos = sorted((ROOT / "data/diorama/JPEGImages").glob("*.jpg"))[:4]
    names = [["house", "grass", "sky", "traffic light", "tree"]] * len(photos)
    config = preset("micro-blip")
    one, two = PnPOVSS(theirs, config), PnPOVSS(ours, config)
    for mine, other in zip(one.maps(photos, names), two.maps(photos, names), strict=True):
        assert abs(mine.match - other.match) < LIMIT
        assert scaled_difference(mine.maps, other.maps) < LIMIT
    for mine, other in zip(
        one.segment_batch(photos, names), two.segment_batch(photos, names), strict=True
    ):
        assert (mine.labels >= 0).any()
        assert (mine.labels != other.labels).mean() < 1e-3


def lavis_name(name: str) -> str:
    """transformers' name of a weight, turned into LAVIS's."""
    for here, there in (
        ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
        ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
        ("vision_model.embeddings.patch_embedding", "visual_encoder.patch_embed.proj"),
        ("vision_model.post_layernorm", "visual_encoder.norm"),
        ("vision_model.encoder.layers", "visual_encoder.blocks"),
        ("self_attn.qkv", "attn.qkv"),
        ("self_attn.projection", "attn.proj"),
        ("layer_norm", "norm"),
    ):
        name = name.replace(here, there)
    return name
