"""Any method under a protocol: sliding windows, and the protocol's rules for its planes.

PnP-OVSS has a way of its own, `ovsslib.protocols.windows.window_maps`: its maps are put together
before they are refined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.pnp.refine import peak_scores
from ovsslib.pnp.resample import upsample
from ovsslib.pnp.result import Segmentation
from ovsslib.protocols.planes import LOGITS, PROBABILITIES, Rules, settle
from ovsslib.protocols.windows import Box, Window, cut, stitch

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.pnp.result import Segmenter
    from ovsslib.protocols.protocol import Protocol
    from ovsslib.types import ImageLike


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
            B segmentations at the pictures' own sizes.
        """
        from ovsslib.io.images import open_image

        if self.window is None:
            found = self.segmenter.segment_batch(images, classes_per_image, stages=stages)
            return [self._decide(one, None) for one in found]
        pictures = [open_image(image) for image in images]
        cuts = [cut(picture, self.window) for picture in pictures]
        jobs = [
            (part, classes)
            for (parts, _, _), classes in zip(cuts, classes_per_image, strict=True)
            for part in parts
        ]
        seen: list[Segmentation] = []
        for start in range(0, len(jobs), max(1, len(pictures))):
            some = jobs[start : start + len(pictures)]
            seen += self.segmenter.segment_batch([part for part, _ in some], [c for _, c in some])
        rest = iter(seen)
        out = []
        for picture, (parts, places, resized) in zip(pictures, cuts, strict=True):
            mine = [next(rest) for _ in parts]
            size = (resized.height, resized.width)
            out.append(self._merge(np.asarray(picture), mine, places, size))
        return out

    def _merge(
        self,
        image: np.ndarray,
        seen: list[Segmentation],
        places: list[Box],
        size: tuple[int, int],
    ) -> Segmentation:
        """One image out of its windows."""
        full = image.shape[:2]
        planes = upsample(stitch([one.planes for one in seen], places, size), full)
        said = [(one.labels == -1)[None].astype(np.float32) for one in seen]
        empty = upsample(stitch(said, places, size), full)[0] >= 0.5
        whole = Segmentation(
            labels=np.full(full, -1, np.int16),
            planes=planes,
            classes=seen[0].classes,
            match=float(np.mean([one.match for one in seen])),
            scores=(),
            image=image,
        )
        return self._decide(whole, empty)

    def _decide(self, one: Segmentation, empty: np.ndarray | None) -> Segmentation:
        """Labels by the rules; `empty` (H, W) is where windows say background."""
        import dataclasses

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
        segmenter: Any method but PnP-OVSS.
        protocol: Its windows and rules.
        dataset: For the protocol's values and names.

    Returns:
        The method itself where the protocol changes nothing, else a `Windowed`.
    """
    here = protocol.resolved(dataset.name)
    rules = Rules.of(here, background=dataset.background)
    if here.window is None and rules == Rules():
        return segmenter
    labels, names = here.expand(dataset, range(1, len(dataset.classes) + 1))
    return Windowed(segmenter, here.window, rules, dict(zip(names, labels, strict=True)))
