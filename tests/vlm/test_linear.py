"""Packed linear layers: the same products, laid out for the processor."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from ovsslib.bench.random_models import TINY, random_blip
from ovsslib.vlm import load_vlm
from ovsslib.vlm.linear import PackedLinear, pack, pack_matcher, packs

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(
    not packs(torch.float32, CPU), reason="this torch has no oneDNN: nothing is packed"
)


@needs_onednn
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(1,), (3, 5), (2, 442)])
def test_same_product(dtype: torch.dtype, bias: bool, rows: tuple[int, ...]) -> None:
    if not packs(dtype, CPU):
        pytest.skip("this processor cannot pack the type")
    torch.manual_seed(0)
    linear = nn.Linear(48, 80, bias=bias).to(dtype)
    states = torch.randn(*rows, 48).to(dtype)
    found = PackedLinear(linear)(states)
    exact = states.double() @ linear.weight.double().T + (linear.bias.double() if bias else 0)
    assert found.shape == (*rows, 80)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double(), exact, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.03
    )


@needs_onednn
def test_all_linears_of_a_module_are_packed_and_the_original_kept() -> None:
    inner = nn.Linear(4, 4)
    net = nn.Sequential(nn.Sequential(inner, nn.GELU()), nn.LayerNorm(4))
    weight = inner.weight.clone()
    assert pack(net) is net
    assert isinstance(net[0][0], PackedLinear)
    assert torch.equal(inner.weight, weight)


@needs_onednn
def test_no_second_copy_stays() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.GELU()), nn.Linear(4, 2))
    old = [weakref.ref(net[0][0]), weakref.ref(net[1])]
    pack(net)
    gc.collect()
    assert [one() for one in old] == [None, None]


@needs_onednn
def test_matcher_sees_the_same_with_packed_weights() -> None:
    plain, packed = (random_blip(TINY, torch.float32, CPU) for _ in range(2))
    pack_matcher(packed)
    pixels = torch.randn(2, 3, 48, 48)
    names = [type(m).__name__ for m in packed.image_encoder.modules()]
    assert "PackedLinear" in names
    assert "Linear" not in names
    torch.testing.assert_close(packed.encode_images(pixels), plain.encode_images(pixels))


def test_types_and_matchers_that_cannot_be_packed_are_left() -> None:
    assert not packs(torch.float64, CPU)
    assert not packs(torch.float32, torch.device("meta"))
    matcher = random_blip(TINY, torch.float64, CPU)
    pack_matcher(matcher)
    assert not [m for m in matcher.image_encoder.modules() if isinstance(m, PackedLinear)]
    nothing = object()
    assert pack_matcher(nothing) is nothing


@needs_onednn
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_can_still_be_read(dtype: torch.dtype) -> None:
    if not packs(dtype, CPU):
        pytest.skip("this processor cannot pack the type")
    plain, packed = (random_blip(TINY, dtype, CPU).model for _ in range(2))
    pack(packed.vision_model)
    before, after = plain.state_dict(), packed.state_dict()
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


@needs_onednn
def test_loading_packs_unless_told_not_to() -> None:
    kinds = [
        {type(m) for m in load_vlm("micro-blip", "cpu", packed=packed).image_encoder.modules()}
        for packed in (True, False)
    ]
    assert PackedLinear in kinds[0]
    assert PackedLinear not in kinds[1]
