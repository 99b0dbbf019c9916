"""What the machine can do and what a call costs: matmul rate, FLOPs, time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ovsslib.errors import OvssError

PRODUCTS = 5
"""Products that `matmul_rate` times; the fastest counts."""


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done its work; nothing on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call, work on the GPU included."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def matmul_rate(dtype: torch.dtype, device: torch.device, *, size: int | None = None) -> float:
    """Best rate of a square matrix product.

    Args:
        dtype: Type of the matrices.
        device: Where to multiply.
        size: Side of the matrices; None takes 2048 on the CPU and 8192 elsewhere.

    Returns:
        FLOP per second; a multiply-add counts as two.

    Raises:
        OvssError: The machine cannot multiply in this type.
    """
    side = size or (2048 if device.type == "cpu" else 8192)
    generator = torch.Generator().manual_seed(0)
    try:
        a, b = (torch.randn(side, side, generator=generator).to(device, dtype) for _ in range(2))
        out = a @ b  # warms up
        times = [seconds(lambda: torch.mm(a, b, out=out), device) for _ in range(PRODUCTS)]
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise OvssError(f"no matrix product in {dtype} on {device}: {reason}") from error
    return 2 * side**3 / min(times)


class _FlopCount(TorchDispatchMode):
    """Sums the FLOPs of the operations that run inside.

    torch's own `FlopCounterMode` cannot be used: it hooks into modules and refuses a gradient
    that stops at a leaf, which is what salience needs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and add what its formula says."""
        del types
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += int(formula(*args, **(kwargs or {}), out_val=out))
        return out


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of matrix products and convolutions during a call.

    Counted with the formulas of `torch.utils.flop_counter` on the operations that really run, the
    backward pass included; a multiply-add counts as two, and sums, norms and softmax do not count.
    Attention is taken apart into its products for this, as not every torch has formulas for all
    fused kernels.
    """
    with sdpa_kernel(SDPBackend.MATH), _FlopCount() as counter:
        call()
    return counter.total


def alternate(
    calls: dict[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of several calls, made in turn so that noise hits all of them.

    Args:
        calls: Name -> call.
        repeats: Turns, at least 1.
        device: Where they compute.

    Returns:
        Name -> median seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call, device))
    return {name: statistics.median(spent) for name, spent in times.items()}
