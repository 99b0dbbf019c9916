"""The BLIP-2 matcher against transformers' own class, and checkpoints that cannot be used."""

from __future__ import annotations

import copy
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.pnp.presets import default_preset
from ovsslib.pnp.prompt import build_prompts
from ovsslib.pnp.salience import gradcam_map
from ovsslib.vlm import load_vlm
from ovsslib.vlm.blip2 import Blip2Matcher, attach, compose
from ovsslib.vlm.inputs import pad_texts
from support.helpers import tiny_vocabulary, write_photo
from support.tiny_blip2 import QUERIES, make_model, make_tokenizer, tiny_blip2  # noqa: F401 - a fixture
from support.whole_graph import blip2_graph, check_batch, leaves, slopes

TEXTS = ["a picture of cat", "a picture of hot air balloon fire sky grass", "a picture of zyx dog"]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
# Q-Former settings, and the layers (from 0) that can be read.
VARIANTS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "published": ({}, [0, 2]),
    "every layer": ({"cross_attention_frequency": 1, "num_hidden_layers": 3}, [0, 1]),
    "every third": ({"cross_attention_frequency": 3, "num_hidden_layers": 4}, [0]),
}


@pytest.fixture(scope="module")
def matcher(tiny_blip2: Path) -> Blip2Matcher:  # noqa: F811
    found = load_vlm(tiny_blip2, "cpu")
    assert isinstance(found, Blip2Matcher)
    return found


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_transformers(variant: str, pixels: Tensor) -> None:
    fields, indices = VARIANTS[variant]
    for dtype, tolerance in TOLERANCE.items():
        theirs = make_model(qformer=fields).to(dtype)
        mine = Blip2Matcher(copy.deepcopy(theirs), make_tokenizer().backend_tokenizer)
        assert mine.layers == len(indices)
        # transformers' matching never interpolates of its own accord.
        encode = theirs.vision_model
        encode.forward = partial(encode.forward, interpolate_pos_encoding=True)
        texts = [mine.tokenize(text) for text in TEXTS]
        ids, mask = pad_texts(texts, 0)
        assert mask is not None
        real = mask[:, None, :, None]
        for side in (32, 48):
            seen = torch.nn.functional.interpolate(pixels.to(dtype), side)
            tokens = mine.encode_images(seen)
            assert tokens.shape == (3, 1 + (side // 8) ** 2, 24)
            for layer, index in enumerate(indices, start=1):
                inputs = {"input_ids": ids, "attention_mask": mask.long(), "pixel_values": seen}
                wanted = blip2_graph(theirs, index, **inputs)
                match = mine.match(tokens, texts, layer, gradient=True)
                got = (match.logits.detach(), match.attention.detach(), slopes(match))
                for name, one, two in zip(("logits", "map", "slope"), got, wanted, strict=True):
                    keep = True if name == "logits" else real
                    far = float(((one - two) * keep).abs().max())
                    assert one.dtype == dtype
                    assert far < tolerance, (name, side, layer, far)
                # Not equal because nothing happens.
                assert wanted[1].std() > 1e-3
                assert wanted[2].abs().max() > 1e-3
                # Pairs, words, heads and patches all make a difference.
                assert all(float(wanted[2].std(dim=axis).max()) > 1e-4 for axis in range(4))


def test_equals_transformers_behind_place_holders(pixels: Tensor) -> None:
    """Newer checkpoints put a place holder for each query before the text, and cut it off."""
    theirs = make_model().double()
    mine = Blip2Matcher(copy.deepcopy(theirs), make_tokenizer().backend_tokenizer)
    theirs.config.image_token_index = len(tiny_vocabulary())
    texts = [mine.tokenize(text) for text in TEXTS]
    ids, mask = pad_texts(texts, 0)
    assert mask is not None
    holders = torch.full((3, QUERIES), theirs.config.image_token_index)
    inputs = {
        "input_ids": torch.cat([holders, ids], dim=1),
        "attention_mask": torch.cat([torch.ones_like(holders), mask.long()], dim=1),
        "pixel_values": pixels.double(),
    }
    logits, composed, _ = blip2_graph(theirs, 0, **inputs)
    match = mine.match(mine.encode_images(pixels.double()), texts, 1)
    assert torch.allclose(match.logits, logits, atol=1e-10)
    assert torch.allclose(match.attention, composed * mask[:, None, :, None], atol=1e-10)


def test_no_query_speaks_for_another() -> None:
    """A word that reads two queries: one looks where the match wants, the other elsewhere."""
    looks = torch.tensor([[[[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]]]])  # two queries, three tokens
    reads = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]])  # the second word reads none
    wish = torch.tensor([[[[0.0, 3.0, 0.0], [7.0, 1.0, 2.0]]]])
    composed = compose(reads, looks).requires_grad_()
    again = attach(looks, reads, composed)
    assert torch.equal(again, looks)
    (slope,) = torch.autograd.grad((again * wish).sum(), composed)
    # Nobody looks at the first token and is wanted there: 0, not 7 times what the other one sees.
    assert torch.allclose(slope[0, 0, 0], torch.tensor([0.0, 2.0, 2.0]))
    assert (slope[0, 0, 1] == 0).all()
    product = gradcam_map(composed, slope, 1)
    assert torch.allclose(product, (reads @ (looks * wish)[0])[..., 1:])


def test_all_layers_at_once_are_not_offered(matcher: Blip2Matcher) -> None:
    with pytest.raises(OvssError, match="does not offer all layers"):
        matcher.match_layers(torch.zeros(1, 5, 32), [matcher.tokenize("a dog")])


@pytest.mark.parametrize("gradient", [True, False])
def test_batch_equals_single(matcher: Blip2Matcher, pixels: Tensor, gradient: bool) -> None:
    texts = [matcher.tokenize(text) for text in TEXTS]
    together = check_batch(matcher, pixels, texts, gradient=gradient)
    for row, text in enumerate(texts):
        assert (together.attention[row, :, len(text.ids) :] == 0).all()
    shares = together.attention.sum(-1)
    assert (shares < 1).all()
    assert shares[:, :, 0].min() > 0
    assert torch.allclose(shares, shares[:, :1].expand_as(shares), atol=1e-5)  # whatever the head


@pytest.mark.parametrize("layer", [1, 2])
def test_graph_leads_from_the_attention_only(
    matcher: Blip2Matcher, pixels: Tensor, layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = matcher.encode_images(pixels).requires_grad_()
    monkeypatch.setattr(matcher.model.vision_model, "forward", None)  # not a second time
    texts = [matcher.tokenize(text) for text in TEXTS]
    match = matcher.match(tokens, texts, layer, gradient=True)
    assert match.attention.is_leaf
    assert leaves(match.logits.grad_fn) == {match.attention}
    match.logit.sum().backward()
    assert tokens.grad is None
    assert not any(w.requires_grad or w.grad is not None for w in matcher.model.parameters())
    assert not any("edit" in name for part in matcher.model.modules() for name in vars(part))
    plain = matcher.match(tokens, texts, layer)
    assert not plain.logits.requires_grad
    assert not plain.attention.requires_grad
    assert torch.allclose(plain.logits, match.logits, atol=1e-6)
    assert torch.equal(plain.attention, match.attention.detach())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(tiny_blip2: Path, pixels: Tensor, dtype: str) -> None:  # noqa: F811
    half, full = load_vlm(tiny_blip2, "cpu", dtype), load_vlm(tiny_blip2, "cpu")
    assert isinstance(half, Blip2Matcher)
    texts = [half.tokenize(text) for text in TEXTS]
    wanted = full.match(full.encode_images(pixels), texts, 2, gradient=True)
    tokens = half.encode_images(pixels)
    assert str(tokens.dtype) == f"torch.{dtype}" == str(half.dtype)
    got = half.match(tokens, texts, 2, gradient=True)
    assert got.attention.dtype == got.logits.dtype == half.model.query_tokens.dtype == torch.float32
    assert torch.allclose(got.probability, wanted.probability, atol=0.03)
    assert torch.allclose(got.attention, wanted.attention, atol=0.02)
    assert torch.isfinite(slopes(got)).all()


def test_tokens_and_pixels_are_the_processors(matcher: Blip2Matcher, tiny_blip2: Path) -> None:  # noqa: F811
    from transformers import AutoTokenizer
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    square = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8))
    processor = BlipImageProcessorPil.from_pretrained(tiny_blip2)
    wanted = processor(square, return_tensors="pt")["pixel_values"]
    assert torch.allclose(matcher.preprocess([square]), wanted, atol=1e-5)
    text = "A picture of Hot air balloon, zyx"
    tokens = matcher.tokenize(text)
    assert list(tokens.ids) == AutoTokenizer.from_pretrained(tiny_blip2)(text)["input_ids"]
    assert tokens.special == (True, *[False] * (len(tokens.ids) - 2), True)
    (prompt,) = build_prompts(["dog", "hot air balloon", "zyx"], matcher.tokenize)
    words = [[tokens.ids[i] for i in span] for tokens in [prompt.tokens] for span in prompt.spans]
    found = [matcher.tokenizer.decode(ids).replace(" ##", "") for ids in words]
    assert found == ["dog", "hot air balloon", "zyx"]
    # The place holder for images has no embedding.
    odd = matcher.tokenize("a <image> dog")
    assert max(odd.ids) < len(tiny_vocabulary())
    assert any(odd.unknown)


@pytest.mark.parametrize("settings", [{}, {"layer": 2, "head": 3, "image_size": 48}])
def test_pipeline(tiny_blip2: Path, tmp_path: Path, settings: dict[str, Any]) -> None:  # noqa: F811
    segmenter = ovsslib.load("pnp-ovss", vlm=tiny_blip2, device="cpu", **settings)
    assert default_preset(segmenter.matcher) == "micro-blip"  # none is made for BLIP-2
    photo = write_photo(tmp_path / "photo.png")
    found = segmenter.segment(photo, ["dog", "hot air balloon", "zyx"])
    assert found.labels.shape == (48, 64)
    assert found.planes.shape[0] == 3
    assert np.isfinite(found.planes).all()
    assert found.planes.std() > 0
    again = segmenter.segment_batch([photo, photo], [["sky"], ["dog", "hot air balloon", "zyx"]])[1]
    assert (again.labels == found.labels).mean() > 0.99


def test_wrong_layer_and_foreign_tokens(tiny_blip2: Path) -> None:  # noqa: F811
    matcher = load_vlm(tiny_blip2, "cpu")
    text = matcher.tokenize("cat")
    for layer in (0, 3):
        with pytest.raises(OvssError, match=f"layer {layer} does not exist; .* layers 1 to 2"):
            matcher.match(torch.zeros(1, 17, 24), [text], layer)
    with pytest.raises(OvssError, match=r"\(1, 17, 32\) are not from .* have 24 features"):
        matcher.match(torch.zeros(1, 17, 32), [text], 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"qformer_config": {"num_hidden_layers": 1}}, "holds 76 weights"),
        ({"qformer_config": {"num_attention_heads": 5}}, r"heads \(5\)"),
        ({"qformer_config": {"intermediate_size": 9}}, "weights whose shape is not"),
        ({"vision_config": {"hidden_act": "relux"}}, "relux"),
        ({"num_query_tokens": 0}, "num_query_tokens must be a positive whole number"),
    ],
)
def test_impossible_settings(
    tiny_blip2: Path,  # noqa: F811
    tmp_path: Path,
    fields: dict[str, Any],
    message: str,
) -> None:
    """These are transformers' own words; ours is that the folder is named, on one line."""
    folder = shutil.copytree(tiny_blip2, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    for key, value in fields.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(OvssError, match=message) as caught:
        load_vlm(folder, "cpu")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_that_cannot_match_texts() -> None:
    words = make_tokenizer().backend_tokenizer
    with pytest.raises(OvssError, match="cannot match texts; take one for matching"):
        Blip2Matcher(make_model(qformer={"use_qformer_text_input": False}), words)
    with pytest.raises(OvssError, match="Q-Former of one layer has no word"):
        Blip2Matcher(make_model(qformer={"num_hidden_layers": 1}), words)


def test_weights_of_other_heads(tiny_blip2: Path, tmp_path: Path) -> None:  # noqa: F811
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_blip2, tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    assert "text_projection.weight" in weights  # read past
    weights["language_model.lm_head.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "model.safetensors")
    assert load_vlm(folder, "cpu").layers == 2
    del weights["itm_head.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(OvssError, match=r"lacks 1 weights that Blip2\w+ needs \(itm_head\.weight"):
        load_vlm(folder, "cpu")
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["purple"])
    with pytest.raises(OvssError, match=r"has \d+ entries for \d+ embeddings"):
        Blip2Matcher(make_model(), tokenizer.backend_tokenizer)
