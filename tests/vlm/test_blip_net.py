"""The plain network against transformers' own class, on random models of several sizes."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ovsslib.vlm.blip import net as blip_net
from ovsslib.vlm.blip.net import BlipNet, TextAttention, attend
from ovsslib.vlm.sizes import BlipSizes, EncoderSizes
from ovsslib.vlm.weights import fill
from support.helpers import make_tiny_blip

# (image: width, inner, layers, heads, side, patch), (text: width, inner, layers, heads, positions)
SIZES = {
    "square": ((32, 64, 2, 4, 32, 8), (32, 64, 3, 4, 20)),
    "wide image": ((48, 80, 1, 6, 48, 16), (24, 40, 2, 3, 12)),
    "wide text": ((16, 24, 3, 2, 20, 4), (40, 56, 4, 5, 30)),
    "one head": ((8, 8, 1, 1, 8, 8), (8, 8, 1, 1, 9)),
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
PADS = [0, 2, 3]


def make_pair(size: str, dtype: torch.dtype) -> tuple[Any, BlipNet]:
    """transformers' model with random weights, large enough to matter, and ours with the same."""
    from transformers import BlipConfig, BlipForImageTextRetrieval

    names = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
    image, text = SIZES[size]
    config = BlipConfig(
        vision_config=dict(zip([*names, "image_size", "patch_size"], image, strict=True)),
        text_config={
            **dict(zip([*names, "max_position_embeddings"], text, strict=True)),
            "vocab_size": 50,
            "bos_token_id": 48,
        },
        image_text_hidden_size=12,
    )
    theirs = BlipForImageTextRetrieval(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.15 * torch.randn(weight.shape, generator=generator))
    theirs = theirs.to(dtype)
    with torch.device("meta"):
        mine = BlipNet(BlipSizes.from_dict(config.to_dict()))
    fill(mine, theirs.state_dict(), "BLIP")
    return theirs, mine.requires_grad_(False)


def inputs(theirs: Any, padded: bool, dtype: torch.dtype, side: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(6)
    length = theirs.config.text_config.max_position_embeddings
    pixels = torch.randn(3, 3, side, side, generator=generator, dtype=torch.float64).to(dtype)
    ids = torch.randint(1, 50, (3, length), generator=generator)
    mask = torch.ones_like(ids, dtype=torch.bool)
    for row, pad in enumerate(PADS if padded else []):
        ids[row, length - pad :], mask[row, length - pad :] = 0, False
    return pixels, ids, mask


def transformers_result(
    theirs: Any, pixels: Tensor, ids: Tensor, mask: Tensor, layer: int
) -> tuple[Tensor, ...]:
    """Image tokens, states, logits, attention and the match logit's gradient, all in one graph."""
    kept: list[Tensor] = []
    cross = theirs.text_encoder.encoder.layer[layer - 1].crossattention.self
    handle = cross.register_forward_hook(lambda _module, _in, out: kept.append(out[1]))
    try:
        image = theirs.vision_model(pixel_values=pixels, interpolate_pos_encoding=True)[0]
        states = theirs.text_encoder(
            input_ids=ids, attention_mask=mask.long(), encoder_hidden_states=image
        ).last_hidden_state
    finally:
        handle.remove()
    logits = theirs.itm_head(states[:, 0])
    slope = torch.autograd.grad(logits[:, 1].sum(), kept[0])[0]
    return tuple(value.detach() for value in (image, states, logits, kept[0], slope))


@pytest.mark.parametrize("folded", [False, True], ids=["usual", "folded"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("size", SIZES)
def test_equals_transformers(
    size: str, padded: bool, dtype: torch.dtype, folded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextAttention, "folds", lambda _self, one, two: folded and one is not two)
    theirs, mine = make_pair(size, dtype)
    own, patch = mine.sizes.image_size, mine.sizes.patch
    layers = range(1, mine.sizes.text.layers + 1)
    for side, layer in itertools.product((own, own + patch, own + 3 * patch), layers):
        pixels, ids, mask = inputs(theirs, padded, dtype, side)
        image = mine.vision_model(pixels)
        states, looks = mine.text_encoder(ids, mask if padded else None, image, layer, True)
        logits = mine.itm_head(states[:, 0])
        assert looks.is_leaf
        slope = torch.autograd.grad(logits[:, 1].sum(), looks)[0]
        expected = transformers_result(theirs, pixels, ids, mask, layer)
        got = (image, states.detach(), logits.detach(), looks.detach(), slope)
        for name, one, two in zip(
            ("image", "states", "logits", "attention", "gradient"), got, expected, strict=True
        ):
            scale = max(1.0, float(two.abs().max()))
            assert one.dtype == dtype
            assert float((one - two).abs().max()) < TOLERANCE[dtype] * scale, (name, side, layer)
        # Not equal because nothing happens: attention and its gradient are far from constant.
        assert expected[3].std() > 1e-4
        assert expected[4].abs().max() > 1e-5


def test_keys_and_values_are_left_out_where_that_is_less_work() -> None:
    cross = TextAttention(EncoderSizes(width=768, inner=3072, layers=12, heads=12, eps=1e-12), 1024)
    image = torch.empty(1, 442, 1024, device="meta")

    def folds(tokens: int) -> bool:
        return cross.folds(torch.empty(1, tokens, 768, device="meta"), image)

    assert folds(15)
    assert not folds(200), "with many tokens keys and values are cheaper"


def test_attention_step_by_step_is_the_fused_one() -> None:
    generator = torch.Generator().manual_seed(2)
    parts = [torch.randn(2, 3, n, 16, generator=generator) for n in (5, 9, 9)]
    exact = attend(*parts)
    found = attend(*(part.bfloat16() for part in parts))
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.03


@pytest.mark.parametrize("folded", [False, True], ids=["usual", "folded"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("size", SIZES)
def test_all_layers_in_one_graph(
    size: str, padded: bool, folded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against single layers, and against one backward pass through transformers' network."""
    monkeypatch.setattr(TextAttention, "folds", lambda _self, one, two: folded and one is not two)
    theirs, mine = make_pair(size, torch.float64)
    pixels, ids, mask = inputs(theirs, padded, torch.float64, mine.sizes.image_size)
    ours = mask if padded else None
    image = mine.vision_model(pixels)
    layers = range(1, mine.sizes.text.layers + 1)
    states, found = mine.text_encoder.read(ids, ours, image, layers, True)
    assert [looks.is_leaf for looks in found] == [layer == 1 for layer in layers]
    slopes = torch.autograd.grad(mine.itm_head(states[:, 0])[:, 1].sum(), found)
    kept = transformers_maps(theirs, pixels, ids, mask)
    assert len(kept) == len(found) == len(slopes) == len(layers)
    for layer, looks, slope, theirs_one in zip(layers, found, slopes, kept, strict=True):
        alone, one = mine.text_encoder(ids, ours, image, layer, True)
        single = torch.autograd.grad(mine.itm_head(alone[:, 0])[:, 1].sum(), one)[0]
        scale = max(1.0, float(single.abs().max()))
        assert (looks - one).abs().max() < 1e-12
        assert (slope - single).abs().max() < 1e-12 * scale
        assert (looks - theirs_one).abs().max() < 1e-10
        assert theirs_one.grad is not None
        assert (slope - theirs_one.grad).abs().max() < 1e-10 * scale
        assert single.abs().max() > 1e-5
    if len(layers) > 1:  # what the first layer changes in later ones is part of its derivative
        monkeypatch.setattr(blip_net, "leaf", lambda x, keep: x.detach().requires_grad_(keep))
        states, found = mine.text_encoder.read(ids, ours, image, layers, True)
        cut = torch.autograd.grad(mine.itm_head(states[:, 0])[:, 1].sum(), found)
        assert (slopes[0] - cut[0]).abs().max() > 1e-6
        assert (slopes[-1] - cut[-1]).abs().max() < 1e-12


def transformers_maps(theirs: Any, pixels: Tensor, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """Cross-attention of every layer after one backward pass from the match logit."""
    kept: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, outputs: tuple[Tensor, ...]) -> None:
        outputs[1].retain_grad()
        kept.append(outputs[1])

    layers = theirs.text_encoder.encoder.layer
    handles = [layer.crossattention.self.register_forward_hook(keep) for layer in layers]
    image = theirs.vision_model(pixel_values=pixels, interpolate_pos_encoding=True)[0]
    states = theirs.text_encoder(
        input_ids=ids, attention_mask=mask.long(), encoder_hidden_states=image
    ).last_hidden_state
    for handle in handles:
        handle.remove()
    theirs.itm_head(states[:, 0])[:, 1].sum().backward()
    return kept


def test_without_gradient_no_graph() -> None:
    theirs, mine = make_pair("square", torch.float32)
    pixels, ids, _ = inputs(theirs, False, torch.float32, 32)
    states, looks = mine.text_encoder(ids, None, mine.vision_model(pixels), 2, False)
    assert not states.requires_grad
    assert not looks.requires_grad


def test_watched_layer_equals_fused() -> None:
    theirs, mine = make_pair("wide text", torch.float64)
    pixels, ids, mask = inputs(theirs, True, torch.float64, 20)
    image = mine.vision_model(pixels)
    first, *others = (mine.text_encoder(ids, mask, image, n, False)[0] for n in (1, 2, 3, 4))
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-12, atol=1e-12)


def test_names_and_shapes_are_those_of_transformers() -> None:
    theirs, mine = make_pair("wide image", torch.float32)
    wanted = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in mine.state_dict().items()} == wanted


def test_loading_imports_neither_transformers_nor_a_compiler(tmp_path: Path) -> None:
    folder = make_tiny_blip(tmp_path / "tiny")
    code = (
        "import sys; from ovsslib.vlm import load_vlm; load_vlm(sys.argv[1], 'cpu');"
        "print(sorted({'transformers', 'torchvision', 'torch._dynamo', 'sympy', 'scipy'}"
        " & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
