"""What a process holds in memory."""

from __future__ import annotations

import numpy as np

from ovsslib.bench.memory import resident


def test_a_large_array_shows() -> None:
    before = resident(peak=False)
    assert before > 1 << 20
    block = np.ones(64 << 20, np.uint8)
    assert resident(peak=False) >= before + block.size // 2
    assert resident(peak=True) >= resident(peak=False)
