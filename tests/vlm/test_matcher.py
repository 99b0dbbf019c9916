"""What the families of models share, on tiny random models of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.pnp.salience import attention_gradient, layer_gradients
from ovsslib.vlm import load_vlm
from ovsslib.vlm.blip.matcher import BlipMatcher
from ovsslib.vlm.blip2 import Blip2Matcher
from ovsslib.vlm.bridgetower import BridgeTowerMatcher
from ovsslib.vlm.inputs import CLIP_MEAN, CLIP_STD
from ovsslib.vlm.lavis.backend import LavisMatcher
from ovsslib.vlm.matcher import Matcher
from ovsslib.vlm.protocol import ImageTextMatcher
from support.helpers import tiny_blip  # noqa: F401 - a fixture
from support.tiny_blip2 import tiny_blip2  # noqa: F401 - a fixture
from support.tiny_bridgetower import tiny_bridgetower  # noqa: F401 - a fixture

FAMILIES = {"blip": BlipMatcher, "blip2": Blip2Matcher, "bridgetower": BridgeTowerMatcher}
TEXTS = ("a picture of cat", "a picture of hot air balloon sky")


@pytest.fixture(scope="module", params=FAMILIES)
def matcher(request: pytest.FixtureRequest) -> Any:
    folder: Path = request.getfixturevalue(f"tiny_{request.param}")
    found = load_vlm(folder, "cpu")
    assert type(found) is FAMILIES[request.param]
    generator = torch.Generator().manual_seed(1)
    for weight in found.model.parameters():  # or attention would be all but uniform
        weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return found


@pytest.fixture
def tokens(matcher: Any) -> torch.Tensor:
    rng = np.random.default_rng(4)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)) for _ in TEXTS]
    return matcher.encode_images(matcher.preprocess(pictures))


def test_the_families_are_matchers(matcher: Any) -> None:
    assert isinstance(matcher, Matcher)
    assert issubclass(LavisMatcher, Matcher)
    assert all(hasattr(matcher, name) for name in ImageTextMatcher.__annotations__)
    assert not matcher.model.training
    assert not any(weight.requires_grad for weight in matcher.model.parameters())
    assert (matcher.device, matcher.dtype) == (torch.device("cpu"), torch.float32)


def test_arguments(matcher: Any) -> None:
    plain = type(matcher)(matcher.model, matcher.tokenizer)
    assert plain.name == matcher.family
    assert (plain.image_mean, plain.image_std) == (CLIP_MEAN, CLIP_STD)
    assert plain.image_size == matcher.image_size
    options: dict[str, Any] = {"image_mean": [0, 0.5, 1], "image_std": [1, 0.5, 2]}
    other = type(matcher)(matcher.model, matcher.tokenizer, name="x", image_size=24, **options)
    assert (other.name, other.image_size) == ("x", 24)
    white = other.preprocess([Image.new("RGB", (9, 5), "white")])
    assert white.shape == (1, 3, 24, 24)
    assert torch.equal(white[0, :, 0, 0], torch.tensor([1.0, 1.0, 0.0]))
    assert other.preprocess([Image.new("RGB", (9, 5))], 16).shape[-1] == 16
    with pytest.raises(OvssError, match="image_size 17 is not a multiple of the 8-pixel patch"):
        other.preprocess([Image.new("RGB", (9, 5))], 17)


def test_a_missing_layer_is_refused(matcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher, "_read", None)  # before anything is read
    for layer in (-1, 0, matcher.layers + 1):
        message = f"layer {layer} does not exist; {matcher.name} has layers 1 to {matcher.layers}$"
        with pytest.raises(OvssError, match=message):
            matcher.match(torch.zeros(1, 5, 1), [matcher.tokenize("cat")], layer)


@pytest.mark.parametrize("gradient", [True, False])
def test_all_layers_equal_each(matcher: Any, tokens: torch.Tensor, gradient: bool) -> None:
    texts = [matcher.tokenize(text) for text in TEXTS]
    assert len({len(text.ids) for text in texts}) == 2
    if isinstance(matcher, Blip2Matcher):
        with pytest.raises(OvssError, match="does not offer all layers in one pass"):
            matcher.match_layers(tokens, texts, gradient=gradient)
        return
    found = matcher.match_layers(tokens, texts, gradient=gradient)
    assert len(found.attention) == matcher.layers > 1
    slopes = layer_gradients(found, "match") if gradient else []
    for index, looks in enumerate(found.attention):
        alone = matcher.match(tokens, texts, index + 1, gradient=gradient)
        assert torch.allclose(alone.logits, found.logits, atol=1e-6)
        assert torch.allclose(alone.attention, looks, atol=1e-6)
        assert looks.requires_grad is alone.attention.requires_grad is gradient
        if gradient:
            wanted = attention_gradient(alone, "match")
            assert (wanted - slopes[index]).abs().max() <= 1e-5 * wanted.abs().max()
    assert (found.attention[0] - found.attention[1]).abs().max() > 1e-3


def test_tokens_of_another_model(matcher: Any, tokens: torch.Tensor) -> None:
    texts = [matcher.tokenize(text) for text in TEXTS]
    # BLIP leaves it to torch to stumble over them.
    expected = RuntimeError if isinstance(matcher, BlipMatcher) else OvssError
    with pytest.raises(expected) as caught:
        matcher.match(tokens[..., 1:], texts, 1)
    if expected is OvssError:
        width = tokens.shape[-1]
        assert str(caught.value) == (
            f"image tokens of shape {(*tokens.shape[:-1], width - 1)} are not from {matcher.name}, "
            f"whose tokens have {width} features"
        )


def test_a_family_must_be_whole() -> None:
    class Half(Matcher):
        family = "half"

    with pytest.raises(TypeError, match="abstract"):
        Half(None, None)  # type: ignore[abstract, arg-type]
    assert Matcher.__abstractmethods__ == {
        "_set_up", "_read", "tokenize", "encode_images",
    }  # fmt: skip
