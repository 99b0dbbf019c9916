"""The lattice against one of dictionaries, point by point, from the paper's formulas."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from ovsslib.densecrf import lattice as module
from ovsslib.densecrf.lattice import build, elevate, simplex
from ovsslib.densecrf.rows import product

Vertex = tuple[int, ...]


def plane(feature: np.ndarray) -> np.ndarray:
    """A point (d,) in the plane: the basis of Adams et al. 2010, scaled to a deviation of 1."""
    d = len(feature)
    place = np.zeros(d + 1)
    for j, value in enumerate(feature, 1):
        axis = np.array([1.0] * j + [-j] + [0.0] * (d - j))
        place += value * axis / math.sqrt(j * (j + 1))
    return place * math.sqrt(2 / 3) * (d + 1)


def around(place: np.ndarray) -> dict[Vertex, float]:
    """Vertices of the simplex around a place of the plane and their barycentric weights."""
    size = len(place)
    base = np.round(place / size).astype(int)
    order = sorted(range(size), key=lambda i: (base[i] * size - place[i], i))
    excess = int(base.sum())
    moved = order[size - excess :] if excess > 0 else order[: -excess or 0]
    base[moved] -= int(np.sign(excess))
    away = place - base * size
    order = sorted(range(size), key=lambda i: (-away[i], i))
    weights = {}
    for remainder in range(size):
        vertex = base * size + remainder
        if remainder:
            vertex[order[size - remainder :]] -= size
            share = (away[order[size - remainder - 1]] - away[order[size - remainder]]) / size
        else:
            share = 1 - (away[order[0]] - away[order[-1]]) / size
        weights[tuple(vertex.tolist())] = share
    return weights


def naive(features: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Splat, blur and slice (d, N) and (N, C) with dictionaries; and the number of vertices."""
    size = len(features) + 1
    corners = [around(plane(feature)) for feature in features.T]
    table: dict[Vertex, np.ndarray] = defaultdict(lambda: np.zeros(values.shape[1]))
    for weights, value in zip(corners, values, strict=True):
        for vertex, share in weights.items():
            table[vertex] = table[vertex] + share * value
    for axis in range(size):
        step = np.full(size, -1)
        step[axis] += size
        old = dict(table)
        for vertex in old:
            for way in (1, -1):
                near = tuple((np.array(vertex) + way * step).tolist())
                if near in old:
                    table[vertex] = table[vertex] + old[near] / 2
    out = [sum(share * table[v] for v, share in weights.items()) for weights in corners]
    return np.array(out), len(table)


def some(d: int, count: int, spread: float) -> torch.Tensor:
    return torch.randn(d, count, generator=torch.Generator().manual_seed(d)) * spread


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_places_lie_in_the_plane_and_keep_distances(d: int) -> None:
    features = some(d, 20, 3).double()
    found = elevate(features)
    expected = np.stack([plane(one) for one in features.numpy().T], 1)
    assert np.abs(found.numpy() - expected).max() < 1e-4
    assert found.sum(0).abs().max() < 1e-3
    scale = math.sqrt(2 / 3) * (d + 1)
    ratios = torch.pdist(found.t()) / torch.pdist(features.t())
    assert torch.allclose(ratios, torch.full_like(ratios, scale), rtol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_weights_make_the_point(d: int) -> None:
    features = some(d, 50, 4)
    base, rank, shares = simplex(features)
    assert (base.sum(0) == 0).all()
    assert (rank.sort(0).values == torch.arange(d + 1)[:, None]).all()
    assert shares.min() > -1e-5
    assert torch.allclose(shares.sum(0), torch.ones(50), atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("spread", [0.2, 2.0])
def test_filter_equals_dictionaries(d: int, spread: float) -> None:
    features = some(d, 60, spread)
    values = torch.randn(60, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    lattice = build(features)
    found = product(lattice.splat, values, bags=True)
    for axis in lattice.blur:
        found = product(axis, found, bags=True)
    found = product(lattice.slice, found, bags=True)
    expected, vertices = naive(features.numpy().astype(float), values.numpy())
    assert lattice.vertices == vertices
    assert np.abs(found.numpy() - expected).max() < 1e-4


def test_slice_is_splat_transposed() -> None:
    lattice = build(some(3, 40, 1))
    there = product(lattice.splat, torch.eye(40), bags=True)
    assert (there[-1] == 0).all()
    back = product(lattice.slice, torch.eye(lattice.vertices + 1), bags=True)
    assert torch.allclose(there.t(), back)


def test_blurs_are_symmetric_and_keep_what_is_inside() -> None:
    grid = torch.tensor(list(itertools.product(np.arange(0, 6, 0.25), repeat=2)))
    lattice = build(grid.t().float().contiguous())
    for axis in lattice.blur:
        full = product(axis, torch.eye(lattice.vertices + 1), bags=True)
        full = full[:-1, :-1]  # what stands for neighbours that are not there is 0
        assert torch.equal(full, full.t())
        assert full.sum(1).max() == 2
        assert (full.diagonal() == 1).all()


def test_the_way_of_other_devices_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, sorting and merging are PyTorch's; codes that fill 64 bits are sorted so, too."""
    features = some(5, 200, 2)
    here = build(features)
    monkeypatch.setattr(module, "_has_numpy", lambda _: False)
    other = build(features)
    for one, two in zip((here.splat, *here.blur), (other.splat, *other.blur), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_one_point_and_equal_points() -> None:
    for features in (torch.zeros(2, 1), torch.ones(5, 7)):
        lattice = build(features)
        assert lattice.vertices == len(features) + 1


def test_features_too_far_apart() -> None:
    with pytest.raises(ValueError, match="standard deviations are too small"):
        build(torch.tensor([[0.0, 1e6]] * 5))
