"""One image's maps of every layer and head as bytes, 16 bits a value.

A record is a float32 step per map, then (L, A, K, h, w) uint16, the number of steps. Thresholds are
shares of a map's largest value, and so is the error: 1/131070 of it. Half precision has the same
size, but an error of up to 1/4096 of each value, which puts more patches on the other side.

Letters: L layers, A heads, K classes, h x w patches.
"""

from __future__ import annotations

import numpy as np

_MOST = 65535
_ALIGN = 64
_LEAST = 1e-38
"""The smallest step: float32 has fewer digits for smaller numbers."""


def record_bytes(layers: int, heads: int, classes: int, grid: tuple[int, int]) -> int:
    """Bytes of one image's maps, padded to whole cache lines.

    Example:
        >>> record_bytes(12, 12, 3, (21, 21))
        382784
    """
    size = layers * heads * classes * (4 + 2 * grid[0] * grid[1])
    return -(-size // _ALIGN) * _ALIGN


def pack(maps: np.ndarray) -> bytes:
    """One image's record.

    Args:
        maps: (L, A, K, h, w), not negative.

    Returns:
        `record_bytes` bytes.
    """
    layers, heads, classes, height, width = maps.shape
    peaks = maps.max(axis=(3, 4), initial=0).astype(np.float64)
    steps = np.maximum(peaks / _MOST, _LEAST).astype(np.float32)
    values = np.rint(maps / steps[..., None, None].astype(np.float64)).astype(np.uint16)
    record = steps.tobytes() + values.tobytes()
    return record.ljust(record_bytes(layers, heads, classes, (height, width)), b"\0")


def unpack(
    record: np.ndarray, shape: tuple[int, int, int, int, int], layer: int, heads: slice
) -> np.ndarray:
    """Maps of some heads of a layer.

    Args:
        record: Its bytes, as uint8; only those needed are read.
        shape: L, A, K, h, w.
        layer: 1 to L.
        heads: Which, counted from 0.

    Returns:
        (heads, K, h, w) float32.
    """
    edge = 4 * int(np.prod(shape[:3]))
    steps = record[:edge].view(np.float32).reshape(shape[:3])[layer - 1, heads]
    values = record[edge : edge + 2 * int(np.prod(shape))].view(np.uint16).reshape(shape)
    found = values[layer - 1, heads].astype(np.float32)
    return np.asarray(found * steps[..., None, None])
