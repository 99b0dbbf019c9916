"""One picture's maps of every layer and head as bytes, in half precision.

A record is a float32 scale per layer and head, then (L, A, K, h, w) float16, to be multiplied by
it. Scales are powers of two, so that only the rounding to half precision changes a value, and are
shared by a picture's classes, which therefore still compare.

Letters: L layers, A heads, K classes, h x w patches.
"""

from __future__ import annotations

import numpy as np

# Half precision ends at 65504: the largest value of a layer and head is stored as 2^14 to 2^15,
# which leaves room for values 10^11 times smaller.
_TOP = 15
_ALIGN = 64


def record_bytes(layers: int, heads: int, classes: int, grid: tuple[int, int]) -> int:
    """Bytes of one picture's maps, padded to whole cache lines.

    >>> record_bytes(12, 12, 3, (21, 21))
    381632
    """
    size = layers * heads * (4 + 2 * classes * grid[0] * grid[1])
    return -(-size // _ALIGN) * _ALIGN


def pack(maps: np.ndarray) -> bytes:
    """One picture's record.

    Args:
        maps: (L, A, K, h, w), not negative.

    Returns:
        :func:`record_bytes` bytes.
    """
    layers, heads, classes, height, width = maps.shape
    exponent = np.frexp(maps.max(axis=(2, 3, 4), initial=0))[1]
    # Below this, a scale would be no normal number any more.
    scales = np.ldexp(np.float32(1), np.maximum(exponent, -100) - _TOP).astype(np.float32)
    values = (maps / scales[:, :, None, None, None]).astype(np.float16)
    record = scales.tobytes() + values.tobytes()
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
    edge = 4 * shape[0] * shape[1]
    scales = record[:edge].view(np.float32).reshape(shape[:2])[layer - 1, heads]
    values = record[edge : edge + 2 * int(np.prod(shape))].view(np.float16).reshape(shape)
    found = values[layer - 1, heads].astype(np.float32)
    return np.asarray(found * scales[:, None, None, None])
