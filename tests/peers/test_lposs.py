"""LPOSS against dense matrices and conjugate gradients written anew."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ovsslib.errors import OvssError
from ovsslib.peers.dino import Dino
from ovsslib.peers.lposs import Lposs, LpossConfig, lab, patch_graph, pixel_graph, propagate
from ovsslib.peers.maskclip import MaskClip, MaskClipConfig
from ovsslib.pnp.resample import upsample
from support.tiny_dino import make_tiny_dino, naive_last_layer, units
from support.towers import micro, some_pixels


def naive_patches(unit: np.ndarray, patch: int, k: int, gamma: float, sigma: float) -> np.ndarray:
    n, side = len(unit), math.isqrt(len(unit))
    one_way = np.zeros((n, n))
    for i in range(n):
        cosines = [float(unit[i] @ unit[j]) for j in range(n)]
        for j in sorted(range(n), key=lambda j: -cosines[j])[:k]:
            far = math.dist((i // side * patch, i % side * patch),
                            (j // side * patch, j % side * patch))  # fmt: skip
            one_way[i, j] = max(0.0, cosines[j]) ** gamma * math.exp(-sigma * far)
    both = one_way + one_way.T
    np.fill_diagonal(both, 0)
    return both


def naive_pixels(colours: np.ndarray, radius: int, tau: float) -> np.ndarray:
    h, w, _ = colours.shape
    graph = np.zeros((h * w, h * w))
    for y in range(h):
        for x in range(w):
            for v in range(max(0, y - radius), min(h, y + radius + 1)):
                for u in range(max(0, x - radius), min(w, x + radius + 1)):
                    if (v, u) != (y, x):
                        change = math.dist(colours[y, x], colours[v, u])
                        graph[y * w + x, v * w + u] = math.exp(-change / tau)
    return graph


def system(graph: np.ndarray, alpha: float) -> np.ndarray:
    degree = graph.sum(1)
    degree[degree == 0] = 1
    return np.eye(len(graph)) - alpha * graph / np.sqrt(np.outer(degree, degree))


def naive_spread(graph: np.ndarray, planes: np.ndarray, alpha: float, steps: int) -> np.ndarray:
    """Conjugate gradients as in a textbook."""
    matrix, found = system(graph, alpha), []
    for y in planes.reshape(len(planes), -1).astype(float):
        x, r = np.zeros_like(y), y.copy()
        p, old = r.copy(), r @ r
        for _ in range(steps):
            a = old / (p @ matrix @ p)
            x, r = x + a * p, r - a * (matrix @ p)
            p, old = r + (r @ r) / old * p, r @ r
        found.append(x)
    return (1 - alpha) * np.stack(found).reshape(planes.shape)


@pytest.mark.parametrize("k", [5, 16, 400])
def test_the_graph_of_patches(k: int) -> None:
    unit = normalize(torch.randn(16, 6, generator=torch.manual_seed(k)), dim=1).numpy()
    found = patch_graph(unit, 8, k, 3.0, 0.01).toarray()
    assert np.allclose(found, naive_patches(unit, 8, k, 3.0, 0.01), atol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "radius"), [(9, 12, 2), (5, 4, 6), (3, 7, 3), (4, 4, 0)]
)
def test_the_graph_of_pixels(height: int, width: int, radius: int) -> None:
    colours = np.random.default_rng(0).random((height, width, 3)) / 10
    found = pixel_graph(colours, radius, 0.05).toarray()
    assert np.allclose(found, naive_pixels(colours, radius, 0.05), atol=1e-9)


def test_names_spread_as_the_matrix_says() -> None:
    rng = np.random.default_rng(0)
    graph = rng.random((16, 16)) * (rng.random((16, 16)) < 0.4)
    graph = np.triu(graph, 1) + np.triu(graph, 1).T
    graph[3] = graph[:, 3] = 0  # a patch that is connected with none
    planes = rng.random((3, 4, 4)).astype(np.float32)
    from scipy.sparse import csr_array

    for steps in (1, 4):
        found = propagate(csr_array(graph), planes, 0.95, steps)
        assert np.allclose(found, naive_spread(graph, planes, 0.95, steps), atol=1e-6)
    exact = 0.05 * np.linalg.solve(system(graph, 0.95), planes.reshape(3, -1).T).T
    found = propagate(csr_array(graph), planes, 0.95, 100)
    assert np.allclose(found.reshape(3, -1), exact, atol=1e-6)
    assert np.allclose(propagate(csr_array(graph), planes, 0.0, 10), planes)


@pytest.mark.parametrize(
    ("patch", "settings"),
    [
        (8, {}),
        (16, {"residual": False, "neighbours": 3, "steps": 3}),
        (8, {"pixels": True, "window": 5, "tau": 0.1}),
    ],
)
def test_an_image_from_end_to_end(tmp_path: Path, patch: int, settings: dict[str, object]) -> None:
    tower, dino = micro(), Dino(str(make_tiny_dino(tmp_path / "dino", patch)), "cpu")
    config = LpossConfig(**settings)
    method, pixels = Lposs(tower, config, dino), some_pixels(tower, 2, 32)
    texts = [normalize(torch.randn(k, 128), dim=1) for k in (2, 3)]
    side = 32 // patch
    with torch.no_grad():
        found = method.planes(pixels, texts)
        for image, named, planes in zip(pixels, texts, found, strict=True):
            mask = MaskClip(tower, MaskClipConfig(residual=config.residual)).features(image[None])
            plane = mask[0].T.unflatten(1, (4, 4))[None]
            own = torch.nn.functional.interpolate(plane, (side, side), mode="bilinear")[0]
            start = (named @ normalize(own.flatten(1), dim=0)).view(-1, side, side).numpy()
            unit = units(naive_last_layer(dino.model, method.matcher.colours(image))[1][2]).numpy()
            graph = naive_patches(unit, patch, config.neighbours, config.gamma, config.sigma)
            spread = naive_spread(graph, start, config.alpha, config.steps)
            if config.pixels:
                colours = lab(method.matcher.colours(image).clamp(0, 1).permute(1, 2, 0).numpy())
                graph = naive_pixels(colours, config.window // 2, config.tau)
                fine = upsample(spread.astype(np.float32), (32, 32))
                spread = naive_spread(graph, fine, config.alpha, config.steps)
            assert planes.shape == spread.shape
            assert np.allclose(planes.numpy(), spread, atol=1e-5)


def test_colours_of_known_lab_values() -> None:
    known = {
        (0, 0, 0): (0, 0, 0),
        (1, 1, 1): (100, 0, 0),
        (1, 0, 0): (53.24, 80.09, 67.20),
        (0, 1, 0): (87.73, -86.18, 83.18),
        (0, 0, 1): (32.30, 79.19, -107.86),
        (0.5, 0.5, 0.5): (53.39, 0, 0),
    }
    for colour, expected in known.items():
        found = lab(np.array(colour, float)) * (100, 128, 128)
        assert found == pytest.approx(expected, abs=0.02)


def test_what_it_refuses() -> None:
    for name, value in (("alpha", 1.0), ("window", 0), ("tau", 0.0), ("steps", 0), ("gamma", -1.0)):
        with pytest.raises(OvssError, match=name):
            LpossConfig(**{name: value})
