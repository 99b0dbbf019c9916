"""Linear layers whose weights are laid out once for the processor, not at every product.

On a CPU, oneDNN orders a matrix into blocks before it multiplies. For a frozen network this can be
done when the weights are loaded: the same products, in the same precision, in about four fifths of
the time. There is no gradient, so only image encoders are packed, which need none.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)

# A hint for the layout; products of any number of rows are right.
ROWS = 256
_HEAP = 32 << 20  # bytes that may lie about


def packs(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether weights of a type can be packed on a device."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


class PackedLinear(nn.Module):
    """A linear layer for inference on the CPU.

    Args:
        linear: The layer to stand in for, of a type that `packs`; it is left as it is.
    """

    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        # No buffer: a packed weight cannot be moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, states: Tensor) -> Tensor:
        """States (..., I) to (..., O)."""
        # What torch's own compiler calls for frozen weights.
        return torch.ops.mkldnn._linear_pointwise(states, self._weight, self.bias, "none", [], "")

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Let `state_dict` give the weight as the plain layer does."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self._weight.to_dense()


def pack(module: Module) -> Module:
    """Pack the weights of all linear layers inside a module.

    Args:
        module: Changed in place; for inference without gradients from here on, where it is.

    Returns:
        The module.
    """
    freed = 0
    # No name may hold on to a layer that is replaced: both weights would stay in memory.
    # An nn.MultiheadAttention reads the weight of its linear layer itself.
    whole = (nn.Linear, nn.MultiheadAttention)
    for parent in [m for m in module.modules() if not isinstance(m, whole)]:
        for name in [n for n, m in parent.named_children() if isinstance(m, nn.Linear)]:
            layer: Any = parent.get_submodule(name)
            freed += layer.weight.nbytes
            parent.add_module(name, PackedLinear(layer))
            del layer
        if freed > _HEAP:
            freed = 0
            trim()
    return module


def trim() -> None:
    """Give freed memory back to the system, where the C library can be asked to.

    Old and new weights take turns in the heap; without this, a third of the old ones stays in it as
    holes.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def pack_matcher(matcher: Any) -> Any:
    """Pack a matcher's image encoder where that can be done; else leave the matcher as it is.

    Args:
        matcher: Changed in place.

    Returns:
        The matcher.
    """
    encoder = getattr(matcher, "image_encoder", None)
    if encoder is not None and packs(matcher.dtype, matcher.device):
        pack(encoder)
    return matcher
