"""The state of torch in which this library computes, whatever the program around it has set."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_AUTOCAST = ("cpu", "cuda", "mps", "xpu")


class _Default:
    """float32 as the default type while anything here computes: it belongs to the process.

    Threads are counted, so that one that ends does not take it away from another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._host = torch.float32

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._host = torch.get_default_dtype()
                if self._host != torch.float32:
                    torch.set_default_dtype(torch.float32)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._host != torch.float32:
                torch.set_default_dtype(self._host)


_DEFAULT = _Default()


@contextlib.contextmanager
def own_state() -> Iterator[None]:
    """Compute as in a fresh process that records no graph; also a decorator.

    Inside, gradients and inference mode are off, so that tensors can be part of a graph later;
    no type is chosen automatically; new tensors are float32 on the CPU unless the code says
    otherwise. Afterwards everything is as the host program had it. Costs some microseconds.
    """
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in _AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        # Entered only where needed: it slows down every call of torch.
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_DEFAULT)
        yield
