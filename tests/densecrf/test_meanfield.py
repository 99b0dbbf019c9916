"""The iteration against its formula with a dense matrix, and its gradient."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ovsslib.densecrf.kernels import Kernel, bilateral, gaussian
from ovsslib.densecrf.meanfield import FEW, mean_field
from ovsslib.densecrf.rows import Rows
from support.crf import energies, noise

SIZE = (5, 6)


def terms() -> list:
    image = torch.from_numpy(noise(SIZE))
    return [(2.0, gaussian([SIZE], 2.0)), (3.0, bilateral([image], 9.0, 50.0))]


def rows(classes: int) -> torch.Tensor:
    return torch.from_numpy(energies(classes, SIZE)).flatten(1).t().double()


@pytest.mark.parametrize("classes", [1, 2, FEW - 1, FEW, FEW + 5])
@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_formula(classes: int, iterations: int) -> None:
    unary = rows(classes)
    matrices = [(w, kernel.apply(torch.eye(30, dtype=torch.float64))) for w, kernel in terms()]
    wanted = torch.exp(-unary) / torch.exp(-unary).sum(1, keepdim=True)
    for _ in range(iterations):
        power = torch.exp(-unary + sum(w * full @ wanted for w, full in matrices))
        wanted = power / power.sum(1, keepdim=True)
    assert torch.allclose(mean_field(unary, terms(), iterations), wanted, atol=1e-9)


@pytest.mark.parametrize("classes", [3, FEW])
def test_gradient(classes: int) -> None:
    unary = rows(classes).requires_grad_()
    kernels = terms()
    assert torch.autograd.gradcheck(lambda u: mean_field(u, kernels, 3), (unary,), fast_mode=True)


def test_the_gradient_is_that_of_the_marginals_without_one() -> None:
    unary = rows(3)
    kept = unary.clone()
    alone = mean_field(unary, terms(), 5)
    assert torch.equal(unary, kept)
    assert torch.equal(mean_field(unary.requires_grad_(), terms(), 5), alone)


def test_a_class_ruled_out_has_no_part() -> None:
    unary = rows(3)
    more = torch.cat([unary, torch.full((30, 1), math.inf)], 1)
    found = mean_field(more, terms(), 5)
    assert (found[:, 3] == 0).all()
    assert torch.allclose(found[:, :3], mean_field(unary, terms(), 5), atol=1e-9)


def elsewhere(kernel: Kernel) -> Kernel:
    """A kernel of the same shapes on CUDA."""

    def moved(rows: Rows) -> Rows:
        return Rows(*(torch.empty_like(part, device="cuda") for part in rows))

    blur = tuple(map(moved, kernel.blur))
    return replace(kernel, splat=moved(kernel.splat), blur=blur, slice=moved(kernel.slice))


@pytest.mark.parametrize("bags", [True, False])
@pytest.mark.parametrize("classes", [3, FEW])
def test_a_gpu_is_not_waited_for(classes: int, *, bags: bool) -> None:
    """On one that computes nothing: whatever asks for a value raises an error."""
    kernels = terms()
    with FakeTensorMode(allow_non_fake_inputs=True):
        there = [(weight, elsewhere(kernel)) for weight, kernel in kernels]
        unary = torch.empty(30, classes, device="cuda")
        found = mean_field(unary, there, 3, bags=bags)
        assert (found.device.type, found.shape) == ("cuda", unary.shape)
        with pytest.raises(DataDependentOutputException):
            found.sum().item()
