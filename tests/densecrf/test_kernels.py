"""Normalised kernels: against Gaussians, the transposed, chunks, and blocks."""

from __future__ import annotations

import pytest
import torch

from ovsslib.densecrf import kernels
from ovsslib.densecrf.kernels import bilateral, gaussian
from ovsslib.densecrf.lattice import build
from ovsslib.densecrf.rows import product
from support.crf import noise


def matrix(kernel: kernels.Kernel, *, reverse: bool = False) -> torch.Tensor:
    return kernel.apply(torch.eye(kernel.pixels), reverse=reverse)


def photo(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(noise((height, width), seed))


def dense(features: torch.Tensor) -> torch.Tensor:
    """The Gaussian kernel itself, normalised from both sides."""
    full = torch.exp(-0.5 * torch.cdist(features, features) ** 2)
    return full / (full.sum(0)[:, None] * full.sum(0)).sqrt()


def test_smoothness_is_nearly_gaussian() -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(17.0), indexing="ij")
    wanted = dense(torch.stack([x.flatten(), y.flatten()], 1) / 3)
    found = matrix(gaussian([(12, 17)], 3))
    assert (found - wanted).abs().mean() < 0.15 * wanted.mean()
    assert torch.corrcoef(torch.stack([found.flatten(), wanted.flatten()]))[0, 1] > 0.98
    # Rows are read before columns: the pixel to the right is nearer than the one two below.
    assert found[0, 1] > found[0, 2 * 17]


def test_appearance_keeps_to_colours() -> None:
    image = torch.zeros(8, 10, 3)
    image[:, 5:] = 200
    found = matrix(bilateral([image], 50, 5)).reshape(8, 10, 8, 10)
    assert found[4, 4, :, :5].min() > 0.01
    assert found[4, 4, :, 5:].max() < 1e-6


def test_rows_are_normalised() -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    lattice = build(torch.stack([x.flatten(), y.flatten()]) / 2)
    full = product(lattice.splat, torch.eye(72), bags=True)
    for axis in lattice.blur:
        full = product(axis, full, bags=True)
    full = product(lattice.slice, full, bags=True) / 1.25  # 1 + 2^-2
    sums = full.sum(1)
    assert sums.max() > 1.5 * sums.min()
    wanted = full / (sums[:, None] * sums).sqrt()
    assert torch.allclose(matrix(gaussian([(8, 9)], 2)), wanted, atol=1e-6)


def test_reverse_is_the_transposed() -> None:
    kernel = bilateral([photo(6, 7)], 8, 60)
    assert torch.allclose(matrix(kernel, reverse=True), matrix(kernel).t(), atol=1e-6)
    assert (matrix(kernel) - matrix(kernel).t()).abs().max() > 1e-4


def test_values_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = bilateral([photo(9, 8)], 20, 30)
    values = torch.rand(72, 7)
    whole = kernel.apply(values)
    seen = []
    product = kernels.product

    def spy(rows: object, part: torch.Tensor, *, bags: bool) -> torch.Tensor:
        seen.append(part.shape[1])
        return product(rows, part, bags=bags)  # type: ignore[arg-type]

    monkeypatch.setattr(kernels, "product", spy)
    monkeypatch.setattr(kernels, "CHANNELS", 3)
    assert torch.equal(kernel.apply(values), whole)
    assert set(seen) == {3, 1}


def test_by_index_add() -> None:
    kernel = bilateral([photo(9, 8)], 20, 30)
    values = torch.rand(72, 4)
    assert torch.allclose(kernel.apply(values, bags=False), kernel.apply(values), atol=1e-6)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    """Also where the points that fill up the last four are those of several images."""
    sizes = [(5, 6), (3, 3), (4, 7), (2, 2)]
    images = [photo(h, w, h) for h, w in sizes]
    alone = [bilateral([image], 20, 40) for image in images]
    assert torch.equal(matrix(bilateral(images, 20, 40)), torch.block_diag(*map(matrix, alone)))
    alone = [gaussian([size], 3) for size in sizes]
    assert torch.equal(matrix(gaussian(sizes, 3)), torch.block_diag(*map(matrix, alone)))


def test_bytes_count_shared_parts_once() -> None:
    kernel = gaussian([(10, 10)], 3)
    size = kernel.vertices + 1
    entries = 4 * (101 + 2 * 300)  # rows of `slice`; columns and weights, three for each pixel
    splat = 4 * (size + 1 + 2 * 300)
    blur = 4 * (size + 1 + 3 * size) + 3 * 4 * 3 * size
    assert kernel.bytes == entries + splat + blur
