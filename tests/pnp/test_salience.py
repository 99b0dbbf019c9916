"""Attention and GradCAM maps, against plain PyTorch over the whole graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.pnp.salience import (
    attention_gradient,
    attention_map,
    class_maps,
    gradcam_map,
    patch_grid,
    pick_head,
    random_maps,
)
from ovsslib.vlm.blip.matcher import BlipMatcher, load_blip
from support.helpers import tiny_blip  # noqa: F401 - a fixture

TEXTS = ("a picture of cat", "a picture of traffic light house sky")


@pytest.fixture(scope="module")
def matcher(tiny_blip: Path) -> BlipMatcher:  # noqa: F811
    matcher = load_blip(tiny_blip, "tiny", torch.float32, torch.device("cpu"))
    matcher.model.double()
    generator = torch.Generator().manual_seed(1)
    for weight in matcher.model.parameters():
        # The initial weights are so small that attention is almost uniform and gradients tiny.
        weight.add_(0.2 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return matcher


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(2)).double()


@pytest.fixture(scope="module")
def oracle(tiny_blip: Path, matcher: BlipMatcher) -> Any:  # noqa: F811
    """The class of transformers with the matcher's weights."""
    from transformers import BlipForImageTextRetrieval

    model = BlipForImageTextRetrieval.from_pretrained(tiny_blip).eval().double()
    model.load_state_dict(matcher.model.state_dict())
    return model


def whole_graph(
    model: Any, matcher: BlipMatcher, pixels: torch.Tensor, layer: int, score: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention and its gradient as textbook code would have them: everything differentiable."""
    encoded = [matcher.tokenizer.encode(text).ids for text in TEXTS]
    longest = max(map(len, encoded))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in encoded])
    mask = (ids != 0).long()
    ids[:, 0] = matcher.tokenizer.token_to_id("[ENC]")
    model.requires_grad_(True)
    kept = []
    cross = model.text_encoder.encoder.layer[layer - 1].crossattention.self
    handle = cross.register_forward_hook(lambda _m, _a, output: kept.append(output[1]))
    try:
        image = model.vision_model(pixel_values=pixels).last_hidden_state
        hidden = model.text_encoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=image
        ).last_hidden_state
        kept[0].retain_grad()
        logits = model.itm_head(hidden[:, 0])
        for row in logits:
            (row[1] - (row[0] if score == "margin" else 0)).backward(retain_graph=True)
        return kept[0].detach(), kept[0].grad.clone()
    finally:
        handle.remove()
        model.zero_grad()
        model.requires_grad_(False)


@pytest.mark.parametrize("score", ["match", "margin"])
@pytest.mark.parametrize("layer", [1, 2])
def test_gradient_equals_whole_graph(
    oracle: Any, matcher: BlipMatcher, pixels: torch.Tensor, layer: int, score: str
) -> None:
    attention, gradient = whole_graph(oracle, matcher, pixels, layer, score)
    tokens = matcher.encode_images(pixels)
    match = matcher.match(tokens, [matcher.tokenize(t) for t in TEXTS], layer, gradient=True)
    mine = attention_gradient(match, score)
    assert gradient.abs().max() > 1e-4
    torch.testing.assert_close(match.attention.detach(), attention, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(mine, gradient, rtol=1e-9, atol=1e-13)
    expected = (attention * gradient.clamp(min=0)).clamp(min=0)[..., 1:]
    for head in (1, 3):
        torch.testing.assert_close(
            gradcam_map(match.attention, mine, head), expected[:, head - 1], rtol=1e-9, atol=1e-13
        )
    torch.testing.assert_close(
        gradcam_map(match.attention, mine, None), expected.mean(1), rtol=1e-9, atol=1e-13
    )


def test_last_layer_gradient_reaches_the_first_token_only(
    matcher: BlipMatcher, pixels: torch.Tensor
) -> None:
    # The match head reads [ENC] alone, so after the last cross-attention no other token counts.
    tokens = matcher.encode_images(pixels)
    match = matcher.match(tokens, [matcher.tokenize(t) for t in TEXTS], 2, gradient=True)
    gradient = attention_gradient(match)
    assert gradient[:, :, 0].abs().max() > 0
    assert gradient[:, :, 1:].abs().max() == 0


def test_attention_map_drops_the_class_token() -> None:
    attention = torch.rand(2, 3, 4, 10).softmax(-1)
    assert torch.equal(attention_map(attention, 2), attention[:, 1, :, 1:])
    assert torch.allclose(attention_map(attention, None), attention[..., 1:].mean(1))


def test_half_precision_is_widened() -> None:
    attention = torch.full((1, 1, 1, 5), 1e-4, dtype=torch.float16)
    gradient = torch.full((1, 1, 1, 5), 1e-4, dtype=torch.float16)
    found = gradcam_map(attention, gradient, 1)
    assert found.dtype == torch.float32
    assert (found > 0).all()


def test_functions_leave_their_arguments_alone() -> None:
    attention, gradient = torch.rand(1, 2, 3, 5), torch.randn(1, 2, 3, 5)
    before = attention.clone(), gradient.clone()
    gradcam_map(attention, gradient, None)
    attention_map(attention, 1)
    class_maps(attention[0, 0], [[0, 1], [2]], "sum")
    assert torch.equal(attention, before[0])
    assert torch.equal(gradient, before[1])


def test_class_maps_mean_and_released_sum() -> None:
    maps = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    assert class_maps(maps, [[0, 1], [2, 3]]).tolist() == [[1.5], [6.0]]
    assert class_maps(maps, [[0, 1], [2, 3]], "sum").tolist() == [[1.5], [12.0]]


@pytest.mark.parametrize("head", [0, 4])
def test_missing_head(head: int) -> None:
    with pytest.raises(OvssError, match=f"head {head} does not exist; the layer has heads 1 to 3"):
        pick_head(torch.zeros(1, 3, 2, 4), head)


@pytest.mark.parametrize("count", [0, 1, 38])
def test_token_count_without_a_grid(count: int) -> None:
    with pytest.raises(OvssError, match=f"{count} image tokens"):
        patch_grid(count)


def test_random_maps_depend_on_the_seed_only() -> None:
    one = random_maps(3, 50, seed=4)
    torch.manual_seed(9)
    assert torch.equal(one, random_maps(3, 50, seed=4))
    assert not torch.equal(one, random_maps(3, 50, seed=5))
    assert 0 <= one.min() < one.max() < 1
    assert np.unique(one.numpy()).size > 100
