"""Records: 16 bits a value, whatever the magnitude."""

from __future__ import annotations

import numpy as np
import pytest

from ovsslib.tuning.store import pack, record_bytes, unpack


@pytest.mark.parametrize("magnitude", [1e-27, 1e-9, 1.0, 1e6])
def test_values_come_back(magnitude: float) -> None:
    shape = (2, 3, 4, 5, 5)
    maps = np.random.default_rng(0).random(shape, np.float32) * np.float32(magnitude)
    maps[0, 1] = 0
    maps[1, 2, 3] *= np.float32(1e-5)  # a class that is faint beside another in the same head
    maps[1, 0, 0, 0, 0] = 0
    record = np.frombuffer(pack(maps), np.uint8)
    assert record.size == record_bytes(2, 3, 4, (5, 5))
    assert record.size % 64 == 0
    for layer in (1, 2):
        found = unpack(record, shape, layer, slice(None))
        assert found.dtype == np.float32
        error = np.abs(found - maps[layer - 1]).max(axis=(2, 3))
        peaks = maps[layer - 1].max(axis=(2, 3))
        assert (error <= peaks / 131000).all()
        np.testing.assert_allclose(found.max(axis=(2, 3)), peaks, rtol=1e-6)
        assert (found[maps[layer - 1] == 0] == 0).all()
        np.testing.assert_array_equal(unpack(record, shape, layer, slice(1, 2))[0], found[1])


def test_classes_keep_their_order() -> None:
    """One scale for all classes: what was larger in one of them still is."""
    maps = np.float32([1e-7, 2e-7, 4e-3]).reshape(1, 1, 3, 1, 1) * np.ones((1, 1, 3, 2, 2))
    found = unpack(np.frombuffer(pack(maps), np.uint8), maps.shape, 1, slice(None))[0]
    assert (found[0] < found[1]).all()
    assert (found[1] < found[2]).all()


def test_a_picture_without_classes() -> None:
    record = np.frombuffer(pack(np.zeros((2, 3, 0, 4, 4))), np.uint8)
    assert unpack(record, (2, 3, 0, 4, 4), 2, slice(None)).shape == (3, 0, 4, 4)
