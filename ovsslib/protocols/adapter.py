"""Any method under a protocol: sliding windows, and the protocol's rules for its planes.

The rules are SCLIP's and TCL's. They are for methods that give a score per name: `"similarity"`
(cosines of image and text features: SCLIP's family) or `"probability"` (values in 0..1: TCL). A
method says so by its attribute `planes_are`. PnP-OVSS gives neither: its planes are stretched to
0..1 whether or not a class is there, it has its own background plane (`PnPConfig.background`), and
its maps are put together before they are refined (`ovsslib.protocols.windows.window_maps`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import Positive, Share, check_fields
from ovsslib.pnp.refine import peak_scores, softmax
from ovsslib.pnp.resample import upsample
from ovsslib.pnp.result import Segmentation
from ovsslib.protocols.windows import Box, Window, in_windows, stitch

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.pnp.result import Segmenter
    from ovsslib.protocols.protocol import Protocol
    from ovsslib.types import ImageLike


LOGITS, PROBABILITIES = "similarity", "probability"


@dataclass(frozen=True)
class Rules:
    """How planes are decided; fields as in `Protocol`, None for no such rule."""

    logit_scale: Positive | None = None
    prob_thd: Share | None = None
    area_thd: Share | None = None
    background_plane: Share | None = None

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    @classmethod
    def of(cls, protocol: Protocol, *, background: bool) -> Rules:
        """A resolved protocol's rules; without those for background where it is no class."""
        return cls(
            logit_scale=protocol.logit_scale,
            prob_thd=protocol.prob_thd if background else None,
            area_thd=protocol.area_thd,
            background_plane=protocol.background_plane if background else None,
        )


def settle(
    planes: np.ndarray, groups: Sequence[int], rules: Rules, kind: str = LOGITS
) -> tuple[np.ndarray, np.ndarray]:
    """Decide which name a pixel has.

    In this order: `logit_scale` and a softmax over the names (similarities only); names of a
    group whose share of the pixels that are not background is not above `area_thd` become 0
    (SCLIP); the highest plane wins, the first of equals; pixels whose highest value is below
    `prob_thd` become background, and those where it is not above `background_plane`, and those
    where every probability is 0.

    Args:
        planes: (K, H, W) scores; not changed.
        groups: Of each name, which class it is a name of; 0 for background.
        rules: See `Rules`.
        kind: `"similarity"` or `"probability"`.

    Returns:
        (H, W) int16 index into the names, -1 for background that has no name; and the planes
        (K, H, W) float32 that were compared.

    Raises:
        OvssError: The kind is unknown, or the numbers of planes and groups differ.

    Example:
        >>> planes = np.float32([[[0.2, 0.9]], [[0.3, 0.1]]])
        >>> settle(planes, [1, 2], Rules(background_plane=0.5), "probability")[0].tolist()
        [[-1, 0]]
    """
    if kind not in (LOGITS, PROBABILITIES):
        raise OvssError(f"planes are {LOGITS!r} or {PROBABILITIES!r}, not {kind!r}")
    if len(planes) != len(groups):
        raise OvssError(f"{len(planes)} planes but {len(groups)} names")
    values = planes.astype(np.float32)
    if not len(values):
        return np.full(values.shape[1:], -1, np.int16), values
    if kind == LOGITS:
        values = softmax(values * np.float32(rules.logit_scale or 1.0))
    bare = values.max(0) == 0  # probabilities that speak for no name
    if rules.area_thd is not None:
        values = np.where(_small(values, groups, rules.area_thd)[:, None, None], 0, values)
    best = values.argmax(0)
    peak = values.max(0)
    if rules.prob_thd is not None:
        bare |= peak < rules.prob_thd
    if rules.background_plane is not None:
        bare |= peak <= rules.background_plane
    return np.where(bare, -1, best).astype(np.int16), values


def _small(values: np.ndarray, groups: Sequence[int], share: float) -> np.ndarray:
    """(K,) bool: names of groups, background aside, with no more than a share of the pixels."""
    known, place = np.unique(np.asarray(groups), return_inverse=True)
    area = np.bincount(place[values.argmax(0)].ravel(), minlength=len(known))
    area[known == 0] = 0
    small = (area <= share * area.sum()) & (known != 0)
    return small[place]


class Windowed:
    """A `Segmenter` that sees images through windows and decides by a protocol's rules.

    Planes of windows are averaged at the resized image's size, brought to the image's own size
    (bilinear) and decided there. What is decided how depends on the method's `planes_are`:

    - `"similarity"` (CLIP methods): `logit_scale`, softmax, `area_thd`, `prob_thd`;
    - `"probability"` (TCL): `background_plane`, `area_thd`, `prob_thd`;
    - anything else, or no such attribute: the highest plane, and background where at least half of
      the windows which see a pixel say so; the protocol's rules do not apply.

    Args:
        segmenter: The method.
        window: How to cut; None shows it each image as it is.
        rules: Of the protocol.
        labels: Name -> data-set label, 0 for names of background; names that are not in it count as
            classes of their own.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        window: Window | None,
        rules: Rules | None = None,
        labels: dict[str, int] | None = None,
    ) -> None:
        self.segmenter = segmenter
        self.window = window
        self.rules = rules or Rules()
        self.labels = labels or {}
        self.name: str = segmenter.name
        self.config: Any = segmenter.config

    def segment(
        self, image: ImageLike, classes: Sequence[str], *, stages: bool = False
    ) -> Segmentation:
        """Find classes in one image; see `Segmenter`."""
        return self.segment_batch([image], [classes], stages=stages)[0]

    def segment_batch(
        self,
        images: Sequence[ImageLike],
        classes_per_image: Sequence[Sequence[str]],
        *,
        stages: bool = False,
    ) -> list[Segmentation]:
        """Find each image's own classes; windows of all images go through in batches.

        Args:
            images: B images.
            classes_per_image: B lists of names.
            stages: As the method has them, where an image is seen whole; otherwise there are none.

        Returns:
            B segmentations at the images' own sizes.
        """
        if self.window is None:
            whole = self.segmenter.segment_batch(images, classes_per_image, stages=stages)
            return [self._decide(each, None) for each in whole]
        return [
            self._merge(np.asarray(image), own, boxes, size)
            for image, own, boxes, size in in_windows(
                self.segmenter.segment_batch, images, classes_per_image, self.window
            )
        ]

    def _merge(
        self,
        image: np.ndarray,
        windows: list[Segmentation],
        boxes: list[Box],
        size: tuple[int, int],
    ) -> Segmentation:
        """One image out of its windows."""
        full = image.shape[:2]
        planes = upsample(stitch([window.planes for window in windows], boxes, size), full)
        background = [(window.labels == -1)[None].astype(np.float32) for window in windows]
        empty = upsample(stitch(background, boxes, size), full)[0] >= 0.5
        whole = Segmentation(
            labels=np.full(full, -1, np.int16),
            planes=planes,
            classes=windows[0].classes,
            match=float(np.mean([window.match for window in windows])),
            scores=(),
            image=image,
        )
        return self._decide(whole, empty)

    def _decide(self, one: Segmentation, empty: np.ndarray | None) -> Segmentation:
        """Labels by the rules; `empty` (H, W) is where windows say background."""
        kind = getattr(self.segmenter, "planes_are", "final")
        planes = one.planes
        if kind in (LOGITS, PROBABILITIES):
            if planes.shape[1:] != one.image.shape[:2]:
                planes = upsample(planes, one.image.shape[:2])
            groups = [self.labels.get(name, -1 - k) for k, name in enumerate(one.classes)]
            labels, planes = settle(planes, groups, self.rules, kind)
        elif empty is None:
            return one
        else:
            best = planes.argmax(0).astype(np.int16) if len(planes) else np.int16(-1)
            labels = np.where(empty, np.int16(-1), best)
        return dataclasses.replace(
            one, labels=labels, planes=planes, scores=peak_scores(labels, planes)
        )


def windowed(segmenter: Segmenter, protocol: Protocol, dataset: Dataset) -> Segmenter:
    """A method as a protocol wants it on a data set.

    Args:
        segmenter: Any method but PnP-OVSS. One with a method `for_protocol` says itself what the
            protocol's sentences and windows mean to it.
        protocol: Its windows and rules, resolved for the data set.
        dataset: For the protocol's values and names.

    Returns:
        The method itself where the protocol changes nothing, else a `Windowed`.
    """
    adapted = getattr(segmenter, "for_protocol", None)
    if adapted is not None:
        segmenter = adapted(protocol)
    rules = Rules.of(protocol, background=dataset.background)
    if protocol.window is None and rules == Rules():
        return segmenter
    labels, names = protocol.expand(dataset, range(1, len(dataset.classes) + 1))
    return Windowed(segmenter, protocol.window, rules, dict(zip(names, labels, strict=True)))
