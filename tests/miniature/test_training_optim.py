"""Muon: what it does to a matrix, which parameters it takes, and that it learns."""

from __future__ import annotations

import pytest
import torch

from ovsslib.miniature.training.blip import BlipSize, MicroBlipTrainer
from ovsslib.miniature.training.optim import Muon, optimisers, orthogonalise

TINY = BlipSize(side=32, patch=8, width=32, heads=2, image_layers=1, text_layers=2, positions=48)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 32), (2, 32, 8)])
def test_orthogonalise_evens_singular_values_and_keeps_directions(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    out = orthogonalise(matrices)
    values = torch.linalg.svdvals(out)
    before = torch.linalg.svdvals(matrices)
    clear = before > 0.1 * before.amax(-1, keepdim=True)  # tiny ones need more iterations
    assert out.shape == matrices.shape
    assert values[clear].min() > 0.6
    assert values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    nearest = u @ vh
    cosine = (out * nearest).sum((1, 2)) / (out.norm(dim=(1, 2)) * nearest.norm(dim=(1, 2)))
    assert cosine.min() > 0.95


def test_it_is_torchs_muon_in_float32():
    """The same updates as ``torch.optim.Muon``, whose iterations round to bfloat16."""
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(12, 6)) for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 0.05, "momentum": 0.95}
    a, b = Muon([ours], **options), torch.optim.Muon([theirs], **options)
    for _ in range(4):
        gradient = torch.randn(12, 6)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()
    assert torch.allclose(ours, theirs, atol=0.02)
    assert not torch.allclose(ours, torch.ones(12, 6), atol=0.1)


def test_in_bfloat16_it_takes_nearly_the_same_steps_and_weights_stay_float32():
    torch.manual_seed(0)
    exact, short = (torch.nn.Parameter(torch.ones(12, 6)) for _ in range(2))
    a, b = Muon([exact], lr=0.1), Muon([short], lr=0.1, dtype=torch.bfloat16)
    for _ in range(4):
        gradient = torch.randn(12, 6)
        exact.grad, short.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()
    assert short.dtype == torch.float32
    assert torch.allclose(exact, short, atol=0.02)
    assert not torch.equal(exact, short), "nothing was rounded"


def test_matrices_of_blocks_go_to_muon_and_the_rest_to_adamw():
    trainer = MicroBlipTrainer(TINY)
    adamw, muon = optimisers(trainer, 1e-3, 0.02, 0.05)
    names = {id(p): name for name, p in trainer.named_parameters()}
    taken = {names[id(p)] for p in muon.param_groups[0]["params"]}
    assert any("vision_model.encoder.layers.0.self_attn.qkv" in name for name in taken)
    assert any("text_encoder.encoder.layer.1.crossattention" in name for name in taken)
    assert not any("embedding" in n or "head" in n or "bias" in n or "Norm" in n for n in taken)
    rest = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert taken | rest == set(names.values())
    assert not taken & rest
    decayed = {names[id(p)] for p in adamw.param_groups[0]["params"]}
    assert all("embedding" not in name for name in decayed)
    assert len(optimisers(trainer, 1e-3, 0.0, 0.05)) == 1


def test_muon_learns_and_skips_what_has_no_gradient():
    torch.manual_seed(0)
    target = torch.randn(6, 4)
    matrix, idle = torch.nn.Parameter(torch.zeros(6, 4)), torch.nn.Parameter(torch.ones(2, 2))
    muon = Muon([matrix, idle], lr=0.1, weight_decay=0.0)
    for step in range(200):
        muon.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        loss = ((matrix - target) ** 2).sum()
        muon.zero_grad()
        loss.backward()
        muon.step()
    assert loss.item() < 0.05
    assert torch.equal(idle, torch.ones(2, 2))
