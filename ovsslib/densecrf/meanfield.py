"""Mean-field inference with Potts compatibility (Kraehenbuehl and Koltun 2011, algorithm 1).

Letters: N pixels, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ovsslib.densecrf.kernels import Kernel

FEW = 16
"""With fewer classes, PyTorch's softmax over short rows takes longer than one over columns."""


class _Filter(torch.autograd.Function):
    """A kernel times values. Its gradient is the transposed kernel times the gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, kernel: Kernel, bags: bool) -> Tensor:
        ctx.kernel, ctx.bags = kernel, bags
        return kernel.apply(values, bags=bags)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.kernel.apply(grads[0], reverse=True, bags=ctx.bags), None, None


def mean_field(
    unary: Tensor,
    terms: Sequence[tuple[float, Kernel]],
    iterations: int,
    *,
    bags: bool = True,
) -> Tensor:
    r"""Marginals of a fully connected CRF.

    Begins with Q = softmax(-U) and repeats Q = softmax(-U + \sum_m w_m K_m Q). Under Potts'
    compatibility equal labels attract each other with weight w_m; a pixel counts itself too, as in
    the authors' code.

    Args:
        unary: U, (N, C) energies; gradients flow back to it. +inf rules a class out.
        terms: Pairs of w_m and K_m.
        iterations: How often; 0 gives the softmax alone.
        bags: See `ovsslib.densecrf.rows.product`.

    Returns:
        Q, (N, C).
    """
    graph = torch.is_grad_enabled() and unary.requires_grad
    alone = -unary
    marginals = _softmax(alone)
    for _ in range(iterations):
        logits = alone
        for weight, kernel in terms:
            message = _Filter.apply(marginals, kernel, bags)
            # In the message's memory, unless a graph must keep what is there.
            logits = torch.add(logits, message, alpha=weight, out=None if graph else message)
        marginals = _softmax(logits)
    return marginals


def _softmax(logits: Tensor) -> Tensor:
    """Softmax of each of (N, C) rows."""
    if logits.shape[1] >= FEW:
        return torch.softmax(logits, 1)
    return torch.softmax(logits.t().contiguous(), 0).t().contiguous()
