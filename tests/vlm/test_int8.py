"""Integer products: close to the exact ones, in matchers too, and named in results."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ovsslib.errors import OvssError
from ovsslib.evaluate.run import model_label, precision
from ovsslib.pnp.pipeline import build
from ovsslib.vlm import load_vlm
from ovsslib.vlm.int8 import Int8Linear, quantise, quantise_matcher, rounded


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_close_and_keep_type_and_shape(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    exact = nn.Linear(64, 48)
    # Tokens of very different lengths: one scale for all would lose the short ones.
    states = torch.randn(2, 20, 64) * torch.logspace(-3, 3, 20)[:, None]
    expected = exact(states).detach()
    found = Int8Linear(exact)(states.to(dtype))
    assert found.dtype == dtype
    assert found.shape == expected.shape
    error = (found.float() - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert 0 < error.max() < 0.02


def test_a_token_of_zeros_gives_the_bias() -> None:
    exact = nn.Linear(8, 8)
    found = Int8Linear(exact)(torch.zeros(1, 20, 8))
    assert torch.equal(found, exact.bias.detach().expand(1, 20, 8))
    bare = Int8Linear(nn.Linear(8, 8, bias=False))(torch.zeros(1, 20, 8))
    assert not bare.any()


def test_rounding_leaves_its_input_alone() -> None:
    values = torch.randn(5, 7)
    before = values.clone()
    whole, scale = rounded(values)
    assert torch.equal(values, before)
    assert (whole.float() * scale - values).abs().max() <= scale.max() / 2


def test_every_linear_layer_is_replaced_and_no_other() -> None:
    parts = nn.ModuleDict({"a": nn.Linear(8, 8), "b": nn.Sequential(nn.LayerNorm(8))})
    parts["b"].append(nn.Linear(8, 4))
    quantise(parts)
    kinds = [type(module) for module in parts.modules()]
    assert kinds.count(Int8Linear) == 2
    assert nn.Linear not in kinds
    assert nn.LayerNorm in kinds


def test_labels_of_micro_blip_hardly_change(diorama_pictures) -> None:
    images, classes = diorama_pictures
    exact = build("micro-blip", device="cpu")
    fast = build("micro-blip", device="cpu", dtype="int8")
    assert any(isinstance(module, Int8Linear) for module in fast.matcher.model.modules())
    same = [
        float((one.labels == two.labels).mean())
        for one, two in zip(
            exact.segment_batch(images, classes), fast.segment_batch(images, classes), strict=True
        )
    ]
    assert np.mean(same) > 0.97
    assert min(same) < 1, "nothing was rounded"


def test_results_name_the_type() -> None:
    assert model_label(load_vlm("micro-blip", "cpu")) == "micro-blip"
    fast = load_vlm("micro-blip", "cpu", "int8")
    assert precision(fast) == "int8"
    assert model_label(fast) == "micro-blip@int8"
    assert model_label(load_vlm("micro-blip", "cpu", "bfloat16")) == "micro-blip@bfloat16"


def test_a_model_without_an_image_encoder_of_its_own() -> None:
    class Other:
        name = "other"

    with pytest.raises(OvssError, match="other cannot compute in int8; use bfloat16"):
        quantise_matcher(Other())
