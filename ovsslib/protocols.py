"""Named evaluation protocols: everything beside the method that changes a figure.

"mIoU" means several things in the literature (how pictures are resized, what becomes of void and of
background, of classes that are absent); a protocol names one choice for each.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ovsslib.counts import Counts, image_counts
from ovsslib.errors import OvssError
from ovsslib.registry import pick

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.metrics import Absent


@dataclass(frozen=True)
class Protocol:
    """One way to turn a method's label maps into a figure.

    Attributes:
        name: how tables call it.
        resize: ``"squash"``: the method sees the picture squeezed to a square, aspect ratio lost,
            as the matcher's own preprocessing does.
        scored_at: ``"original"``: label maps are compared at the label file's resolution.
        void: label that is not scored.
        background_covered: rule for the background plane (`PnPConfig.background`) where labels
            cover the picture: it competes only when fewer than three classes are looked for.
        background_uncovered: the same for the other data sets.
        absent: what a class without ground truth in the set scores (`ovsslib.metrics`).
    """

    name: str
    resize: Literal["squash"] = "squash"
    scored_at: Literal["original"] = "original"
    void: int = 255
    background_covered: str = "few"
    background_uncovered: str = "always"
    absent: Absent = "count"

    def background(self, dataset: Dataset) -> str:
        """`PnPConfig.background` for this data set."""
        return self.background_covered if dataset.covered else self.background_uncovered

    def scored_classes(self, dataset: Dataset) -> tuple[int, ...]:
        """Labels that the headline mIoU averages over.

        Background counts as a class where it is one (VOC: 21), not where it is void (VOC 20) or
        clutter that nobody labelled (Diorama: 20).
        """
        return tuple(range(0 if dataset.background else 1, len(dataset.classes) + 1))

    def score(
        self, labels: np.ndarray, looked_for: tuple[int, ...], truth: np.ndarray, n: int
    ) -> Counts:
        """Integer counts of one picture.

        Args:
            labels: (H, W) integers into ``looked_for``, -1 for background.
            looked_for: data-set labels (1..) of the classes the method was given, in its order.
            truth: (H, W) data-set labels, 0 background, ``void`` not scored.
            n: number of the data set's classes, without background.

        Returns:
            Counts of length 1 over n + 1 labels, background first.

        Raises:
            OvssError: shapes differ or a label is out of range.
        """
        if labels.shape != truth.shape:
            raise OvssError(f"labels {labels.shape} and ground truth {truth.shape} differ in shape")
        # One look-up for all pixels. (Renaming ids in place, one after another, as the released
        # code does, lets ids chain into each other.) Index 0 is background: labels are shifted by
        # one.
        table = np.array([0, *looked_for], np.int64)
        if labels.size and (labels.min() < -1 or labels.max() >= len(looked_for)):
            raise OvssError(
                f"a label map holds {labels.max()}, outside its {len(looked_for)} classes"
            )
        return image_counts(table[labels.astype(np.int64) + 1], truth, n + 1, ignore=self.void)

    def to_dict(self) -> dict[str, Any]:
        """All fields, for a results file."""
        return dataclasses.asdict(self)


PROTOCOLS: dict[str, Protocol] = {"pnp-fixed": Protocol("pnp-fixed")}


def get_protocol(name: str) -> Protocol:
    """A protocol by name.

    Raises:
        OvssError: unknown name; says the nearest one.

    Example:
        >>> get_protocol("pnp-fixed").absent
        'count'
    """
    return pick("protocol", name, PROTOCOLS)
