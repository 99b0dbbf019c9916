"""Random models and made-up images of the benchmarks."""

from __future__ import annotations

import pytest
import torch

from ovsslib.bench.case import class_names
from ovsslib.bench.random_models import LARGE, SHAPES, TINY, random_blip, word_tokenizer
from ovsslib.errors import OvssError
from ovsslib.vlm.blip.net import BlipNet


def test_class_names_differ() -> None:
    for count in (1, 20, 45):
        for first in (0, 19, 77):
            assert len(set(class_names(count, first))) == count


def test_large_is_blip_large() -> None:
    with torch.device("meta"):
        net = BlipNet(SHAPES[LARGE])
    # ViT-L/16 at 384 pixels, BERT-base with cross-attention, two projections and the head
    assert sum(weight.numel() for weight in net.parameters()) == 446_128_642


def test_random_weights_depend_on_the_seed_only() -> None:
    cpu = torch.device("cpu")
    one, two, other = (random_blip(TINY, torch.float32, cpu, seed=seed) for seed in (1, 1, 2))
    key = "itm_head.weight"
    assert torch.equal(one.model.state_dict()[key], two.model.state_dict()[key])
    assert not torch.equal(one.model.state_dict()[key], other.model.state_dict()[key])
    with pytest.raises(OvssError, match="did you mean"):
        random_blip("blip-large-rando", torch.float32, cpu)


def test_a_vocabulary_too_small() -> None:
    with pytest.raises(OvssError, match="too few"):
        word_tokenizer(["cat"], 77)
