"""Lattices that are remembered, to be shared by settings of the same images."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

from ovsslib.densecrf.kernels import Kernel

LIMIT = 128 << 20
"""Bytes of lattices that are kept: those of about four photographs of 500 x 375 pixels."""
LIMIT_ELSEWHERE = 2 << 30
"""The same on other devices than CPUs, for a batch of some 60."""


class Lattices:
    """The kernels that were used last, up to a number of bytes.

    Args:
        limit: In bytes; what is larger alone is not kept.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._kept: OrderedDict[Hashable, Kernel] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Kernel]) -> Kernel:
        """The kernel with this key; made if there is none."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while sum(one.bytes for one in self._kept.values()) > self.limit:
                self._kept.popitem(last=False)
        return made

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    @staticmethod
    def digest(image: Tensor) -> tuple[Hashable, ...]:
        """What tells an image from others: its content, shape, type and device."""
        content = hashlib.blake2b(image.detach().cpu().contiguous().numpy().tobytes())
        return content.digest(), tuple(image.shape), image.dtype, image.device


lattices = Lattices()
"""Those of this process on the CPU."""
lattices_elsewhere = Lattices(LIMIT_ELSEWHERE)
"""Those on other devices."""
