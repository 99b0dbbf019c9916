"""Sparse matrices against dense ones."""

from __future__ import annotations

import pytest
import torch

from ovsslib.densecrf.rows import Rows, product


def some(rows: int, columns: int, seed: int) -> tuple[Rows, torch.Tensor]:
    """A matrix with an empty row, and what it is when written out."""
    generator = torch.Generator().manual_seed(seed)
    full = torch.randn(rows, columns, generator=generator)
    full *= torch.rand(rows, columns, generator=generator) < 0.4
    full[1] = 0
    places = full.nonzero()
    sizes = (full != 0).sum(1)
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).int()
    return Rows(offsets, places[:, 1].int(), full[places[:, 0], places[:, 1]]), full


@pytest.mark.parametrize("bags", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 40])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_product(channels: int, kind: torch.dtype, *, bags: bool) -> None:
    matrix, full = some(7, 9, 0)
    dense = torch.randn(9, channels, dtype=kind)
    found = product(matrix, dense, bags=bags)
    assert found.dtype == kind
    assert torch.allclose(found, full.to(kind) @ dense, atol=1e-6)


def test_scaled() -> None:
    matrix, full = some(4, 6, 1)
    rows, columns = torch.arange(1.0, 5), torch.arange(2.0, 8)
    found = product(matrix.scaled(rows=rows, columns=columns), torch.eye(6), bags=True)
    assert torch.allclose(found, rows[:, None] * full * columns)
    assert torch.equal(product(matrix, torch.eye(6), bags=True), full)
