"""The door of the package: a dense CRF with a smoothness and an appearance kernel.

Letters: B images, C classes, H x W pixels, N = H * W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovsslib.densecrf.kernels import Kernel, bilateral, gaussian
from ovsslib.densecrf.meanfield import mean_field
from ovsslib.densecrf.shared import Lattices, lattices, lattices_elsewhere

NOT_FINITE = "a unary with NaN or infinity: clip probabilities before the logarithm"


@dataclass(frozen=True)
class DenseCRF:
    """Fully connected CRF (Kraehenbuehl and Koltun 2011), the kernels normalised symmetrically.

    Lattices are remembered for a while and shared by all settings of the same images.

    Attributes:
        gaussian_sxy: Standard deviation in pixels of the smoothness kernel, above 0.
        gaussian_compat: Its weight under Potts' compatibility, at least 0; 0 leaves it out.
        bilateral_sxy: Standard deviation in pixels of the appearance kernel, above 0.
        bilateral_srgb: Its standard deviation in grey levels (0 to 255), above 0.
        bilateral_compat: Its weight, at least 0; 0 leaves it out.
        iterations: Of the mean field, at least 0.
        deterministic: Whether sums are always taken in the same order. On CPUs they are anyhow,
            and on CUDA the same operator is used (never run there by a test).

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> unary = torch.tensor([[[0.0, 0.1]], [[2.0, 0.0]]])  # 2 classes, 1 x 2 pixels
        >>> image = torch.zeros(1, 2, 3, dtype=torch.uint8)
        >>> DenseCRF()(unary, image).argmax(0).tolist()
        [[0, 0]]
    """

    gaussian_sxy: float = 3.0
    gaussian_compat: float = 3.0
    bilateral_sxy: float = 80.0
    bilateral_srgb: float = 13.0
    bilateral_compat: float = 10.0
    iterations: int = 10
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, got {value!r}")
        for name in ("gaussian_compat", "bilateral_compat", "iterations"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number of at least 0, got {value!r}")

    def __call__(self, unary: Any, image: Any) -> Tensor:
        """Marginals of one image.

        Args:
            unary: (C, H, W) energies, a tensor or an array of any floating type; smaller is
                likelier. Gradients flow back to it. Its device is where everything is computed.
            image: (H, W, 3), 0 to 255, a tensor or an array; best on the CPU, where its
                values can be checked without waiting for a GPU.

        Returns:
            (C, H, W) probabilities, float64 if the unary is, else float32.

        Raises:
            ValueError: Shapes do not fit, a value is not finite, a colour is not from 0 to 255, or
                a standard deviation is too small for the lattice.
        """
        return self.batch([unary], [image])[0]

    def batch(
        self, unaries: Sequence[Any], images: Sequence[Any], *, together: bool | None = None
    ) -> list[Tensor]:
        """Marginals of several images, whose sizes and numbers of classes may differ.

        Args:
            unaries: B energies, see `__call__`.
            images: B images.
            together: Whether all images are computed at once, which a GPU needs to be busy, and
                which takes memory for the largest number of classes in each image; None does so
                unless on a CPU.

        Returns:
            B marginals.

        Raises:
            ValueError: As `__call__`; or the numbers differ.
        """
        if len(unaries) != len(images):
            raise ValueError(f"{len(unaries)} unaries for {len(images)} images: give one for each")
        pairs = [_checked(*pair) for pair in zip(unaries, images, strict=True)]
        if not pairs:
            return []
        device = pairs[0][0].device
        if any(unary.device != device for unary, _ in pairs):
            raise ValueError("unaries lie on several devices: move them to one")
        # One question for all: the answer of a GPU has to be waited for.
        if not torch.stack([unary.isfinite().all() for unary, _ in pairs]).all():
            raise ValueError(NOT_FINITE)
        if together is None:
            together = device.type != "cpu"
        groups = [pairs] if together else [[pair] for pair in pairs]
        return [done for group in groups for done in self._run(group)]

    def _run(self, pairs: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """The images of one computation."""
        unaries = [unary for unary, _ in pairs]
        most = max(map(len, unaries))
        # A class that an image does not have is ruled out there.
        rows = [
            torch.nn.functional.pad(u.flatten(1).t(), (0, most - len(u)), value=math.inf)
            for u in unaries
        ]
        terms = self._terms([image for _, image in pairs], rows[0].device)
        bags = self.deterministic or in_order(rows[0])
        marginals = mean_field(torch.cat(rows), terms, self.iterations, bags=bags)
        parts = marginals.split([len(one) for one in rows])
        return [
            part[:, : len(unary)].t().reshape(unary.shape)
            for part, unary in zip(parts, unaries, strict=True)
        ]

    def _terms(self, images: list[Tensor], device: torch.device) -> list[tuple[float, Kernel]]:
        """Weights and kernels for images that are computed at once."""
        kept = lattices if device.type == "cpu" else lattices_elsewhere
        terms = []
        if self.gaussian_compat:
            sizes = tuple((image.shape[0], image.shape[1]) for image in images)
            sxy = self.gaussian_sxy
            key = ("gaussian", sizes, sxy, device)
            smooth = kept.get(key, lambda: gaussian(sizes, sxy, device))
            terms.append((float(self.gaussian_compat), smooth))
        if self.bilateral_compat:
            settings = (self.bilateral_sxy, self.bilateral_srgb)
            content = ("bilateral", *map(Lattices.digest, images), *settings, device)
            colour = kept.get(
                content, lambda: bilateral([image.to(device) for image in images], *settings)
            )
            terms.append((float(self.bilateral_compat), colour))
        return terms


def in_order(rows: Tensor) -> bool:
    """Whether sums are taken in order where nobody asks: without memory for the products.

    On a CPU this is also the fastest.
    """
    return rows.device.type in ("cpu", "cuda")


def unary_from_probabilities(probabilities: Any, least: float = 1e-5) -> Tensor:
    """Energies of probabilities: the negative logarithm.

    Args:
        probabilities: Any shape.
        least: Smaller ones count as this, so that no class is ruled out for good.

    Example:
        >>> unary_from_probabilities([1.0, 0.0]).tolist()
        [-0.0, 11.512925148010254]
    """
    return -torch.as_tensor(probabilities).clamp(least, 1).log()


def _checked(unary: Any, image: Any) -> tuple[Tensor, Tensor]:
    """Energies and image as tensors; the image stays where it is, to be looked at there.

    Raises:
        ValueError: See `DenseCRF.__call__`.
    """
    unary, image = (torch.as_tensor(_writable(one)) for one in (unary, image))
    if unary.dtype != torch.float64:
        unary = unary.float()
    if unary.ndim != 3 or not unary.numel():
        raise ValueError(f"a unary of shape {tuple(unary.shape)}: give one of (classes, H, W)")
    if image.shape != (*unary.shape[1:], 3):
        size = " x ".join(map(str, unary.shape[1:]))
        raise ValueError(f"an image of shape {tuple(image.shape)} for a unary of {size} pixels")
    # Written so that NaN is refused too.
    if image.dtype != torch.uint8 and not ((image >= 0) & (image <= 255)).all():
        raise ValueError("an image with values outside 0 to 255: scale them")
    return unary, image


def _writable(array: Any) -> Any:
    """A copy of an array that must not be written to, which PyTorch does not take as it is."""
    return array.copy() if isinstance(array, np.ndarray) and not array.flags.writeable else array
