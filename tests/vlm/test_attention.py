"""The attention function that transformers models are given."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ovsslib.vlm.attention import attention, edited, install
from support.tiny_bridgetower import make_model


def parts(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    query = torch.randn(2, 4, 5, 8, generator=draw)
    key, value = torch.randn(2, 2, 4, 7, 8, generator=draw)
    return query, key, value


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_pytorchs_attention_and_never_causal(masked: bool) -> None:
    query, key, value = parts()
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    mask[1, ..., 4:] = False
    module = nn.Identity()
    module.is_causal = True  # transformers' own function would look at this
    got, nothing = attention(module, query, key, value, mask if masked else None, 8**-0.5)
    wanted = scaled_dot_product_attention(query, key, value, mask if masked else None)
    assert nothing is None
    assert torch.allclose(got, wanted.transpose(1, 2), atol=1e-6)
    with edited(module, lambda probabilities: probabilities):
        again, probabilities = attention(module, query, key, value, mask if masked else None)
    assert torch.allclose(again, got, atol=1e-6)
    assert probabilities.shape == (2, 4, 5, 7)
    assert torch.allclose(probabilities.sum(-1), torch.ones(()))
    assert bool((probabilities[1, ..., 4:] == 0).all()) is masked


def test_what_an_edit_returns_is_used_and_the_edit_ends_with_its_context() -> None:
    query, key, value = parts()
    module, first = nn.Identity(), torch.zeros(2, 4, 5, 7)
    first[..., 0] = 1
    with edited(module, lambda _: first):
        seen, _ = attention(module, query, key, value, None)
    assert torch.equal(seen, value[:, :, :1].transpose(1, 2).expand_as(seen))
    plain, _ = attention(module, query, key, value, None)
    assert not torch.allclose(plain, seen)
    assert "edit" not in "".join(vars(module))


def test_every_part_of_a_model_uses_it() -> None:
    model = install(make_model(400))
    names = {
        part.config._attn_implementation for part in model.modules() if hasattr(part, "config")
    }
    assert names == {"ovsslib"}
