"""Refinement of a batch in PyTorch, on the device the model runs on (step 5).

The steps are those of `ovsslib.pnp.refine.refine_maps`, which calls this for
`crf_backend="torch"`. Maps are thresholded on the host, where Salience DropOut leaves them; then
nothing comes back from the device until there are labels.

Letters: B images, K classes, C = K planes or 1 + K with the background first, h x w patches, H x W
pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ovsslib.densecrf import DenseCRF, unary_from_probabilities
from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pamr import pamr
from ovsslib.pnp.planes import planes_of
from ovsslib.pnp.resample import shrink
from ovsslib.pnp.result import Maps, Segmentation, unlabelled
from ovsslib.pnp.threshold import needs_background, threshold
from ovsslib.vlm.finite import check_scores
from ovsslib.vlm.state import own_state

TOGETHER = 1 << 28
"""Values of planes that are refined at once: 1 GiB in float32, 60 images of VOC with 20 classes."""


@dataclass
class _Image:
    """One image on its way: its pixels (H, W, 3) on the host, planes (C, H, W) on the device."""

    pixels: np.ndarray
    planes: Tensor
    background: bool
    nothing: bool
    bare: Tensor
    stages: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Of its planes."""
        return self.bare.shape[0], self.bare.shape[1]

    def labels(self, size: tuple[int, int]) -> Tensor:
        """(H, W) int16 of this size: index of the strongest plane, -1 for background."""
        planes, bare = self.planes, self.bare
        if size == self.size:
            best = planes.argmax(0)
        else:
            # One plane in memory at a time.
            bare = F.interpolate(bare[None, None].float(), size, mode="nearest-exact")[0, 0] > 0
            peak = torch.full(size, -torch.inf, device=planes.device)
            best = torch.full(size, int(self.background) - 1, device=planes.device)
            for index, plane in enumerate(planes):
                large = F.interpolate(plane[None, None], size, mode="bilinear")[0, 0]
                best = torch.where(large > peak, index, best)
                peak = torch.maximum(peak, large)
        return torch.where(bare, -1, best - int(self.background)).short()


@own_state()
def refine_batch(
    batch: Sequence[Maps],
    config: PnPConfig,
    device: torch.device | str = "cpu",
    *,
    together: bool | None = None,
) -> list[Segmentation]:
    """Refine several images, whose sizes and numbers of classes may differ.

    Args:
        batch: Maps of B images; not changed.
        config: Settings.
        device: Where to compute.
        together: Whether images share each computation, which a GPU needs to be busy; None does so
            unless on a CPU.

    Returns:
        B segmentations, equal for any batch but for rounding; see `refine_maps`.

    Raises:
        OvssError: As `refine_maps`.
    """
    results = []
    for maps, image in _refined(batch, config, torch.device(device), together):
        if image is None:
            results.append(unlabelled(maps))
            continue
        small = image.labels(image.size)
        planes = image.planes[int(image.background) :]
        own = small == torch.arange(len(planes), device=small.device)[:, None, None]
        scores = torch.where(own, planes, 0).amax((1, 2)).clamp(min=0)
        size = maps.image.shape[:2]
        labels = small if small.shape == size else image.labels(size)
        stages = {
            name: stage.cpu().numpy() if isinstance(stage, Tensor) else stage
            for name, stage in image.stages.items()
        }
        results.append(
            Segmentation(
                labels=labels.cpu().numpy(),
                planes=planes.cpu().numpy(),
                classes=maps.classes,
                match=maps.match,
                scores=tuple(scores.tolist()),
                image=maps.image,
                stages=stages if maps.stages is not None else None,
            )
        )
    return results


@own_state()
def labels_of(
    batch: Sequence[Maps],
    config: PnPConfig,
    device: torch.device | str = "cpu",
    *,
    together: bool | None = None,
) -> list[np.ndarray]:
    """The labels of `refine_batch` alone: no plane leaves the device."""
    return [
        image.labels(maps.image.shape[:2]).cpu().numpy() if image else unlabelled(maps).labels
        for maps, image in _refined(batch, config, torch.device(device), together)
    ]


def _refined(
    batch: Sequence[Maps], config: PnPConfig, device: torch.device, together: bool | None
) -> Iterator[tuple[Maps, _Image | None]]:
    """Each image's maps and planes; None where no class was looked for."""
    for maps in batch:
        check_scores(np.append(maps.maps, maps.match), "the model's match and salience")
    most = TOGETHER if (device.type != "cpu" if together is None else together) else 0
    for group in _groups(batch, most):
        images = [_planes(maps, config, device) if maps.classes else None for maps in group]
        if config.crf:
            _crf([image for image in images if image and not image.nothing], config)
        yield from zip(group, images, strict=True)


def _groups(batch: Sequence[Maps], most: int) -> Iterator[list[Maps]]:
    """Neighbouring images with at most so many values in their planes, or one image."""
    group: list[Maps] = []
    planes = pixels = 0
    for maps in batch:
        # In the CRF, all images have as many planes as the one with most.
        planes = max(planes, 1 + len(maps.classes))
        pixels += maps.image[..., 0].size
        if group and planes * pixels > most:
            yield group
            group, planes, pixels = [], 1 + len(maps.classes), maps.image[..., 0].size
        group.append(maps)
    if group:
        yield group


def _planes(maps: Maps, config: PnPConfig, device: torch.device) -> _Image:
    """All steps before the CRF."""
    pixels = shrink(maps.image, config.max_side)
    background = needs_background(len(maps.classes), config.background)
    kept = threshold(maps.maps.astype(np.float32), config.threshold)
    nothing = not kept.any() and not background
    size = (pixels.shape[0], pixels.shape[1])
    given = torch.from_numpy(kept).to(device)[None]
    stages: dict[str, Any] = {}
    if maps.stages is not None:
        plain = config.replace(normalise=False)
        whole = planes_of(given, size, 0.0, plain, background=background)[0]
        stages = dict(maps.stages) | {"thresholded": kept, "planes": whole}
    (planes,) = planes_of(given, size, config.blur, config, background=background)
    if maps.stages is not None and (config.blur or config.normalise):
        stages["blurred"] = planes
    if config.pamr and not nothing:
        colours = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)
        planes = stages["pamr"] = pamr(
            planes, colours.to(device), iterations=config.pamr, dilations=config.pamr_dilations
        )
    return _Image(pixels, planes, background, nothing, planes.amax(0) == 0, stages)


def _crf(images: Sequence[_Image], config: PnPConfig) -> None:
    """Replace planes by marginals of the dense CRF.

    Raises:
        OvssError: A standard deviation is too small for an image.
    """
    crf = DenseCRF(
        gaussian_sxy=config.crf_gaussian_sxy,
        gaussian_compat=config.crf_gaussian_compat,
        bilateral_sxy=config.crf_bilateral_sxy,
        bilateral_srgb=config.crf_bilateral_srgb,
        bilateral_compat=config.crf_bilateral_compat,
        iterations=config.crf_iterations,
    )
    several = [image for image in images if len(image.planes) > 1]
    shares = [image.planes.softmax(0) for image in several]
    if config.constant_planes == "nan":
        # As in pydensecrf: one NaN makes all NaN.
        broken = [share.isnan().any() for share in shares]
        shares = [share.nan_to_num(1) for share in shares]
    unaries = [unary_from_probabilities(share) for share in shares]
    try:
        marginals = crf.batch(unaries, [image.pixels for image in several], together=True)
    except ValueError as error:
        raise OvssError(f"the dense CRF: {error}") from error
    if config.constant_planes == "nan":
        marginals = [
            torch.where(gone, torch.nan, found)
            for gone, found in zip(broken, marginals, strict=True)
        ]
    for image, found in zip(several, marginals, strict=True):
        image.planes = found.contiguous()
    for image in images:
        if len(image.planes) == 1:
            image.planes = torch.ones_like(image.planes)
        image.bare = torch.zeros_like(image.bare)
        image.stages["crf"] = image.planes
