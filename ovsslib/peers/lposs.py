"""LPOSS and LPOSS+ (Stojnic et al. 2025, CVPR): names spread over patches, then over pixels.

MaskCLIP's cosines Y of patches and names are propagated over a graph S of the patches that DINO's
values make: Z = (1 - alpha) (I - alpha S)^-1 Y, found by ten steps of conjugate gradients. LPOSS+
does the same once more over pixels, with a graph of their colours.

Departures from the authors' code: the graph is that of one image or window (theirs joins all
windows of an image), the factor 1 - alpha is added (it keeps planes in the range of cosines and
changes no argmax), and scipy takes the place of cupy and faiss. LPOSS+ works on the pixels that
CLIP sees and needs about 3 kB for each.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.lookup import Amount, Count, Positive, Range
from ovsslib.peers.dino import on_grid
from ovsslib.peers.dino_clip import DinoClip, DinoConfig, dino_builder
from ovsslib.peers.maskclip import MaskClip, MaskClipConfig
from ovsslib.pnp.resample import upsample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LpossConfig(MaskClipConfig, DinoConfig):
    """Settings of LPOSS, besides those of every method with a DINO.

    Attributes:
        residual: As in `ovsslib.peers.maskclip.MaskClipConfig`.
        neighbours: Patches that a patch is connected with, itself counted.
        gamma: Power of the cosines.
        sigma: What distances in pixels are multiplied with before the exponential.
        alpha: How far names spread; 0 keeps Y.
        steps: Of conjugate gradients.
        pixels: Whether pixels follow patches: LPOSS+.
        window: Side of the square in which a pixel has neighbours.
        tau: Colour difference at which the weight of two pixels is 1 / e; L counts from 0 to 1, a
            and b in units of 128.
    """

    residual: bool = True
    neighbours: Count = 400
    gamma: Positive = 3.0
    sigma: Amount = 0.01
    alpha: Annotated[float, Range(0, 0.999)] = 0.95
    steps: Count = 10
    pixels: bool = False
    window: Annotated[int, Range(1, 99)] = 13
    tau: Positive = 0.01


class Lposs(DinoClip):
    """LPOSS with one CLIP and one DINO."""

    name = "lposs"
    settings = LpossConfig

    def features(self, pixels: Tensor) -> Tensor:
        """MaskCLIP's features (B, P, E) of images (B, 3, S, S), on DINO's grid."""
        own = MaskClip(self.matcher, self.config).features(pixels)
        return on_grid(own, self.dino.grid(pixels.shape[-1]))

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, h, w) of each image, (K, S, S) with LPOSS+; else see `DenseClip.planes`."""
        values = self.dino_features(pixels).values.transpose(1, 2).flatten(2)
        units = F.normalize(values, dim=-1).cpu().numpy()
        colours = self.matcher.colours(pixels).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        found = super().planes(pixels, texts)
        return [
            torch.from_numpy(self._spread(own.float().cpu().numpy(), unit, colour))
            for own, unit, colour in zip(found, units, colours, strict=True)
        ]

    def _spread(self, planes: np.ndarray, units: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """Planes (K, h, h) of an image, propagated; see `patch_graph` and `pixel_graph`."""
        config = self.config
        graph = patch_graph(units, self.dino.patch, config.neighbours, config.gamma, config.sigma)
        spread = propagate(graph, planes, config.alpha, config.steps)
        if config.pixels:
            fine = upsample(spread, colours.shape[:2])
            graph = pixel_graph(lab(colours), config.window // 2, config.tau)
            spread = propagate(graph, fine, config.alpha, config.steps)
        return spread


def propagate(graph: Any, planes: np.ndarray, alpha: float, steps: int) -> np.ndarray:
    """Planes Y to about (1 - alpha) (I - alpha D^-1/2 W D^-1/2)^-1 Y.

    Args:
        graph: W, (N, N) sparse and symmetric, 0 on its diagonal; D holds its row sums.
        planes: (K, h, w), h * w = N.
        alpha: 0 to 1, 1 left out.
        steps: Of conjugate gradients; fewer where they have come within 1e-6.

    Returns:
        (K, h, w) float32.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    degree = np.asarray(graph.sum(axis=1)).ravel()
    root = np.where(degree > 0, degree, 1.0) ** -0.5
    system = LinearOperator(
        graph.shape, lambda y: y - alpha * root * (graph @ (root * y)), dtype=np.float64
    )
    flat = planes.reshape(len(planes), -1).astype(np.float64)
    solved = [cg(system, plane, rtol=1e-6, maxiter=steps)[0] for plane in flat]
    return (1 - alpha) * np.stack(solved).reshape(planes.shape).astype(np.float32)


def patch_graph(units: np.ndarray, patch: int, neighbours: int, gamma: float, sigma: float) -> Any:
    """Which patches belong together: W + W^T with w_ij = max(0, cos)^gamma exp(-sigma distance).

    Args:
        units: (P, D) unit vectors of h * h patches.
        patch: Side of a patch in pixels.
        neighbours: Patches of highest cosine that a row of W holds, the patch itself among them.
        gamma: See `LpossConfig`.
        sigma: The same.

    Returns:
        (P, P) sparse, 0 on the diagonal.
    """
    from scipy import sparse

    count, side = len(units), round(len(units) ** 0.5)
    cosines = units @ units.T
    most = min(neighbours, count)
    near = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
    rows = np.repeat(np.arange(count), most)
    columns = near.ravel()
    steps = np.hypot(rows // side - columns // side, rows % side - columns % side)
    weights = np.maximum(cosines[rows, columns], 0) ** gamma * np.exp(-sigma * patch * steps)
    weights[rows == columns] = 0
    graph = sparse.csr_array((weights.astype(np.float64), (rows, columns)), (count, count))
    return graph + graph.T


def pixel_graph(colours: np.ndarray, radius: int, tau: float) -> Any:
    """Which pixels have one colour: w_ij = exp(-|difference| / tau) in a square around each.

    Args:
        colours: (H, W, 3).
        radius: Pixels from a square's centre to its edge.
        tau: See `LpossConfig`.

    Returns:
        (H * W, H * W) sparse, 0 on the diagonal.
    """
    from scipy import sparse

    height, width = colours.shape[:2]
    diagonals = {0: np.zeros((height, width))}
    for down, right in itertools.product(range(-radius, radius + 1), repeat=2):
        if (down, right) == (0, 0) or abs(down) >= height or abs(right) >= width:
            continue
        here, there = _overlap(down, height), _overlap(-down, height)
        left, far = _overlap(right, width), _overlap(-right, width)
        change = np.linalg.norm(colours[here, left] - colours[there, far], axis=-1)
        # In a narrow image two steps can lie on one diagonal; they never meet in one entry.
        offset = down * width + right
        diagonal = diagonals.setdefault(offset, np.zeros((height, width)))
        diagonal[here, left] += np.exp(-change / tau)
    data = np.stack([diagonal.ravel() for diagonal in diagonals.values()])
    return sparse.dia_array((data, list(diagonals)), shape=(height * width,) * 2)


def _overlap(step: int, length: int) -> slice:
    """Places along a line from which a step backwards stays on it."""
    return slice(max(step, 0), length + min(step, 0))


def lab(colours: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (white D65, 2 degrees), divided by 100, 128 and 128.

    Args:
        colours: (..., 3) of sRGB in 0..1.

    Example:
        >>> lab(np.float64([1, 0, 0])).round(3).tolist()
        [0.532, 0.626, 0.525]
    """
    linear = np.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)
    to_xyz = np.array(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )
    ratio = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    curved = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    x, y, z = np.moveaxis(curved, -1, 0)
    return np.stack([(116 * y - 16) / 100, 500 * (x - y) / 128, 200 * (y - z) / 128], axis=-1)


build = dino_builder(Lposs)
