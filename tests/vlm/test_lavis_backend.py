"""LAVIS as a backend where LAVIS is not installed; with it, tests/lavis (`make test-lavis`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ovsslib.errors import OvssError
from ovsslib.vlm import find_checkpoint, load_vlm
from ovsslib.vlm.lavis.backend import watch


def test_without_lavis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lavis", None)
    path = tmp_path / "m.pth"
    path.write_bytes(b"what is in it does not matter")
    with pytest.raises(
        OvssError, match=r"needs the environment of environment-lavis\.yml"
    ) as error:
        load_vlm(f"lavis:{path}", "cpu")
    assert "\n" not in str(error.value)
    assert "make install-lavis" in str(error.value)


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    with pytest.raises(OvssError, match=r"m\.pth: no such file"):
        find_checkpoint(f"lavis:{path}")
    path.touch()
    assert find_checkpoint(f"lavis:{path}") == path
    for name in (str(tmp_path), "micro-blip", "Salesforce/blip-itm-large-flickr", ""):
        with pytest.raises(OvssError, match=rf"^lavis:{name}: LAVIS reads its own files only"):
            load_vlm(f"lavis:{name}", "cpu")


class Attention(nn.Module):
    """As LAVIS's: probabilities go through a dropout before they weigh the values."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, probabilities: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return self.dropout(probabilities) @ values


@pytest.mark.parametrize("gradient", [False, True])
def test_watch_gives_the_leaf_and_removes_its_hook(gradient: bool) -> None:
    attention = Attention().eval()
    given = torch.rand(2, 3).requires_grad_()
    values = torch.rand(3, 1)
    with watch(attention, gradient) as seen:
        result = attention(given, values)
    assert torch.equal(seen[0], given)
    assert seen[0].is_leaf
    assert result.requires_grad is gradient
    if gradient:
        (slope,) = torch.autograd.grad(result.sum(), seen[0])
        assert torch.equal(slope, values.T.expand(2, 3))
        assert given.grad is None
    attention(given, values)
    assert len(seen) == 1
    with pytest.raises(RuntimeError), watch(attention, gradient):
        attention(given, torch.rand(5, 1))
    assert not attention.dropout._forward_pre_hooks
