"""From class maps on the patch grid to labels per pixel (step 5).

In this order: threshold, upsampling, background plane, blur, PAMR, dense CRF, the strongest plane.

Needs numpy and pydensecrf, so that worker processes start fast; torch for PAMR only, and for
`crf_backend="torch"`, which `ovsslib.pnp.batched` computes from beginning to end.
Letters: K classes, C = K planes or 1 + K with the background first, h x w patches, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.resample import gaussian, shrink, upsample
from ovsslib.pnp.result import Maps, Segmentation, unlabelled
from ovsslib.pnp.threshold import needs_background, threshold
from ovsslib.vlm.finite import check_scores


def add_background(planes: np.ndarray) -> np.ndarray:
    """Put a plane in front that is 1 where all class planes are 0: (K, H, W) to (1+K, H, W)."""
    empty = (planes.max(axis=0, initial=0) == 0).astype(planes.dtype)
    return np.concatenate([empty[None], planes])


def blur(planes: np.ndarray, fraction: float, constant: str = "keep") -> np.ndarray:
    """Gaussian blur and min-max normalisation of each plane; 0 only normalises.

    Args:
        planes: (C, H, W); not changed.
        fraction: Standard deviation over `max(H, W)`.
        constant: What a plane without contrast becomes: `"keep"` clips it to [0, 1], `"nan"`
            divides 0 by 0 as the released code does.

    Returns:
        (C, H, W) float32.

    Example:
        >>> blur(np.zeros((1, 4, 4)), 0.1).max().item()
        0.0
    """
    sigma = fraction * max(planes.shape[1:])
    out = np.empty(planes.shape, np.float32)
    for index, (plane, smooth) in enumerate(zip(planes, gaussian(planes, sigma), strict=True)):
        low, high = smooth.min(), smooth.max()
        if plane.min() == plane.max():
            # The filter's rounding would otherwise be stretched into a pattern.
            out[index] = np.nan if constant == "nan" else np.clip(plane, 0, 1)
        else:
            out[index] = (smooth - low) / (high - low)
    return out


def softmax(planes: np.ndarray) -> np.ndarray:
    """Softmax over the first axis of (C, H, W)."""
    power = np.exp(planes - planes.max(axis=0, keepdims=True))
    return power / power.sum(axis=0, keepdims=True)


def dense_crf(probabilities: np.ndarray, image: np.ndarray, config: PnPConfig) -> np.ndarray:
    """Fully connected CRF (Kraehenbuehl and Koltun 2011) with a smoothness and a colour kernel.

    Args:
        probabilities: (C, H, W) per-pixel class probabilities; NaN gives NaN.
        image: (H, W, 3) uint8.
        config: Its `crf_*` fields are used.

    Returns:
        (C, H, W) float32 probabilities after the mean-field iterations.

    Raises:
        OvssError: Pydensecrf is missing, or the shapes differ.
    """
    count, height, width = probabilities.shape
    if image.shape != (height, width, 3):
        raise OvssError(f"image of shape {image.shape} for planes of {height} x {width} pixels")
    if count == 1:
        return np.ones_like(probabilities, dtype=np.float32)
    try:
        from pydensecrf import densecrf
        from pydensecrf.utils import unary_from_softmax
    except ImportError as error:
        raise OvssError(
            "the dense CRF needs pydensecrf2: install it, or set crf_backend=torch or crf=false"
        ) from error
    crf = densecrf.DenseCRF2D(width, height, count)
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    crf.addPairwiseGaussian(sxy=config.crf_gaussian_sxy, compat=config.crf_gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=config.crf_bilateral_sxy,
        srgb=config.crf_bilateral_srgb,
        # The C++ side reads the buffer as it lies: contiguous, and writable for Cython.
        rgbim=np.array(image, dtype=np.uint8, order="C"),
        compat=config.crf_bilateral_compat,
    )
    return np.asarray(crf.inference(config.crf_iterations)).reshape(count, height, width)


def agreed(
    planes: np.ndarray, image: np.ndarray, iterations: int, dilations: Sequence[int]
) -> np.ndarray:
    """Pixel-adaptive mask refinement, see `ovsslib.pnp.pamr.pamr`.

    Args:
        planes: (C, H, W) scores of any range; not changed.
        image: (H, W, 3) uint8.
        iterations: How often means over neighbours are taken.
        dilations: Distances of the neighbours in pixels.

    Returns:
        (C, H, W) float32.
    """
    import torch

    from ovsslib.pnp.pamr import pamr

    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)
    scores = torch.from_numpy(planes.astype(np.float32))
    with torch.no_grad():
        refined: np.ndarray = pamr(
            scores, pixels, iterations=iterations, dilations=dilations
        ).numpy()
    return refined


def decide(planes: np.ndarray, *, background: bool) -> np.ndarray:
    """Index of the strongest plane per pixel.

    Args:
        planes: (C, H, W).
        background: Whether the first plane is the background.

    Returns:
        (H, W) int16: class index, -1 for background. Ties go to the first plane.

    Example:
        >>> decide(np.float32([[[0, 1]], [[2, 0]]]), background=True).tolist()
        [[0, -1]]
    """
    return (planes.argmax(axis=0) - int(background)).astype(np.int16)


def peak_scores(labels: np.ndarray, planes: np.ndarray) -> tuple[float, ...]:
    """Per class the peak of its plane (K, H, W) inside its own pixels, 0 when it has none."""
    return tuple(float(plane[labels == index].max(initial=0)) for index, plane in enumerate(planes))


def refine_maps(maps: Maps, config: PnPConfig) -> Segmentation:
    """Threshold, upsample, blur, PAMR, CRF and decide for one image (step 5).

    A plain function of picklable arguments: it can run in a worker process.

    Args:
        maps: Class maps of one image; not changed.
        config: Settings.

    Returns:
        The segmentation. Its stages, if `maps` has any, gain `thresholded` (K, h, w),
        `planes`, `blurred`, `pamr` and `crf` (each (C, H, W), the background plane first
        where there is one; the last three only if these steps run).

    Raises:
        OvssError: The maps are not finite, a standard deviation is too small for
            `ovsslib.densecrf`, or as `dense_crf`.
    """
    check_scores(np.append(maps.maps, maps.match), "the model's match and salience")
    full = maps.image.shape[:2]
    if not maps.classes:
        return unlabelled(maps)
    if config.crf_backend == "torch":
        from ovsslib.pnp.batched import refine_batch

        return refine_batch([maps], config)[0]
    image = shrink(maps.image, config.max_side)
    background = needs_background(len(maps.classes), config.background)
    kept = threshold(maps.maps, config.threshold)
    planes = upsample(kept, image.shape[:2], align_corners=config.align_corners)
    if background:
        planes = add_background(planes)
    stages = dict(maps.stages or {}) | {"thresholded": kept, "planes": planes}
    nothing = not kept.any() and not background
    if config.blur or config.normalise:
        planes = stages["blurred"] = blur(planes, config.blur, config.constant_planes)
    if config.pamr and not nothing:
        planes = stages["pamr"] = agreed(planes, image, config.pamr, config.pamr_dilations)
    # Without background plane or blur, a pixel that no class claims is left unlabelled.
    bare = planes.max(axis=0) == 0
    if config.crf and not nothing:
        planes = stages["crf"] = dense_crf(softmax(planes), image, config)
        bare = np.zeros_like(bare)
    labels = np.where(bare, np.int16(-1), decide(planes, background=background))
    class_planes = planes[int(background) :]
    scores = peak_scores(labels, class_planes)
    if image.shape != maps.image.shape:
        labels = _enlarge(planes, bare, full, background=background)
    return Segmentation(
        labels=labels,
        planes=class_planes,
        classes=maps.classes,
        match=maps.match,
        scores=scores,
        image=maps.image,
        stages=stages if maps.stages is not None else None,
    )


def _enlarge(
    planes: np.ndarray, bare: np.ndarray, size: tuple[int, int], *, background: bool
) -> np.ndarray:
    """Labels at full size from smaller planes, one plane in memory at a time."""
    from PIL import Image

    best = np.full(size, -np.inf, np.float32)
    labels = np.full(size, -1, np.int16)
    for index, plane in enumerate(planes):
        large = Image.fromarray(plane.astype(np.float32)).resize(
            size[::-1], Image.Resampling.BILINEAR
        )
        value = np.asarray(large)
        better = value > best
        labels[better] = index - int(background)
        best[better] = value[better]
    if bare.any():
        mask = Image.fromarray(bare).resize(size[::-1], Image.Resampling.NEAREST)
        labels[np.asarray(mask)] = -1
    return labels
