"""Eight-bit integer products for an image encoder: half the time of bfloat16, labels kept.

Weights are rounded once, one scale an output; states are rounded as they come, one scale a token
(symmetric, as in LLM.int8(), arXiv 2208.07339, without its outliers). Sums are exact in int32.

Letters: N tokens, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ovsslib.errors import OvssError

LEVELS = 127
Module = TypeVar("Module", bound=nn.Module)


def rounded(values: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as integers.

    Args:
        values: (N, I) of any floating type.

    Returns:
        (N, I) int8 in -127 to 127, and (N, 1) float32 scales: their product is about `values`.

    Example:
        >>> whole, scale = rounded(torch.tensor([[1.0, -0.5], [0.0, 0.0]]))
        >>> whole.tolist(), round(float(scale[0]), 4)
        ([[127, -64], [0, 0]], 0.0079)
    """
    # A row of zeros has no scale of its own; any will do.
    scale = values.abs().amax(1, keepdim=True).float().clamp_min(1e-30) / LEVELS
    return (values / scale).round_().to(torch.int8), scale


class Int8Linear(nn.Module):
    """A linear layer for inference whose product is computed in integers.

    Args:
        linear: The layer to stand in for; it is left as it is.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        whole, scale = rounded(weight)
        bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("weight", whole.t())  # (I, O)
        self.register_buffer("scale", scale[:, 0])
        self.register_buffer("bias", bias.to(weight.device))

    def forward(self, states: Tensor) -> Tensor:
        """States (..., I) to (..., O) of the same type."""
        whole, scale = rounded(states.flatten(0, -2))
        # torch's only int8 product; what torchao's quantised layers call as well.
        sums = torch._int_mm(whole, self.weight)
        out = torch.addcmul(self.bias, sums * scale, self.scale)
        return out.to(states.dtype).unflatten(0, states.shape[:-1])


def quantise(module: Module) -> Module:
    """Let all linear layers inside a module compute in integers.

    Args:
        module: Changed in place; for inference only from here on.

    Returns:
        The module.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            module.add_module(name, Int8Linear(child))
        else:
            quantise(child)
    return module


def quantise_matcher(matcher: Any) -> Any:
    """Let a matcher's image encoder compute in integers; the rest keeps its type.

    Args:
        matcher: Changed in place; its weights are bfloat16 or float32.

    Returns:
        The matcher, whose `precision` is `"int8"` from here on.

    Raises:
        OvssError: It has no image encoder of its own.
    """
    encoder = getattr(matcher, "image_encoder", None)
    if encoder is None:
        raise OvssError(f"{matcher.name} cannot compute in int8; use bfloat16")
    quantise(encoder)
    matcher.precision = "int8"
    return matcher
