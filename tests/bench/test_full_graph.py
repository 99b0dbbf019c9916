"""The baseline keeps everything, and counts as much work as it should."""

from __future__ import annotations

import pytest
import torch

from ovsslib.bench import full_graph
from ovsslib.bench.case import Spec, prepare
from ovsslib.bench.random_models import TINY, random_blip
from ovsslib.errors import OvssError


def test_the_baseline_keeps_everything() -> None:
    model = random_blip(TINY, torch.float32, torch.device("cpu"))
    whole = full_graph.FullGraph(model.model, 159)
    assert all(weight.requires_grad for weight in whole.weights.values())
    stored = dict(model.model.state_dict())
    assert all(w.data_ptr() == stored[name].data_ptr() for name, w in whole.weights.items())
    ids = torch.tensor([[2, 5, 6, 3]])
    attention, gradients = whole.attention(
        torch.randn(1, 3, 48, 48), ids, torch.ones_like(ids).bool(), torch.tensor([0])
    )
    assert len(attention) == len(gradients) == 3
    assert all(g.shape == a.shape for a, g in zip(attention, gradients, strict=True))
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    assert attention[1].std() > 1e-4
    assert ids[0, 0] == 2
    assert not any(weight.requires_grad for weight in model.model.parameters())


def test_only_blip_can_be_compared() -> None:
    case = prepare(Spec(vlm=TINY, layer=2, head=2, device="cpu"))
    case.matcher.model = None  # type: ignore[attr-defined]
    with pytest.raises(OvssError, match="not a BLIP"):
        full_graph.run(case)
