"""Images and energies for dense CRFs, and pydensecrf's answers."""

from __future__ import annotations

import numpy as np
import torch


def energies(classes: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Energies (C, H, W) of smooth random probabilities, as maps of a model give them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 3 * torch.rand(1, classes, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0]
    return (-smooth.log_softmax(0)).numpy()


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """An image (H, W, 3) of independent pixels."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def reference(
    unary: np.ndarray,
    image: np.ndarray,
    iterations: int = 10,
    smooth: tuple[float, float] = (3, 7),
    colour: tuple[float, float, float] = (50, 5, 10),
) -> np.ndarray:
    """Marginals (C, H, W) by pydensecrf."""
    from pydensecrf import densecrf

    count, height, width = unary.shape
    crf = densecrf.DenseCRF2D(width, height, count)
    crf.setUnaryEnergy(np.ascontiguousarray(unary.reshape(count, -1)))
    crf.addPairwiseGaussian(sxy=smooth[0], compat=smooth[1])
    sxy, srgb, compat = colour
    crf.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=np.array(image), compat=compat)
    return np.array(crf.inference(iterations)).reshape(count, height, width)
