"""Random models: published sizes, always the same weights."""

from __future__ import annotations

import pytest
import torch

from ovsslib.bench.case import class_names
from ovsslib.bench.random_models import LARGE, SHAPES, TINY, open_model, random_blip
from ovsslib.errors import OvssError
from ovsslib.pnp.prompt import build_prompts
from ovsslib.vlm.blip.net import BlipNet

CPU = torch.device("cpu")


def test_large_is_blip_large() -> None:
    with torch.device("meta"):
        net = BlipNet(SHAPES[LARGE])
    # ViT-L/16 at 384 pixels, BERT-base with cross-attention, two projections and the head
    assert sum(weight.numel() for weight in net.parameters()) == 446_128_642


def test_random_weights_are_always_the_same() -> None:
    first, second = (random_blip(TINY, torch.float32, CPU).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first["itm_head.weight"].std() > 0
    with pytest.raises(OvssError, match="did you mean"):
        random_blip("blip-large-rando", torch.float32, CPU)


def test_many_classes_take_several_prompts() -> None:
    matcher = open_model(TINY, device="cpu")
    assert len(build_prompts(class_names(45), matcher.tokenize, max_tokens=64)) > 1


def test_the_tokenizer_knows_the_class_names() -> None:
    matcher = open_model(TINY, device="cpu")
    assert not any(matcher.tokenize(" ".join(class_names(45))).unknown)
