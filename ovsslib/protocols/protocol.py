"""Named evaluation protocols: everything beside the method that changes a figure.

"mIoU" means several things in the literature (how images are resized, what becomes of void and of
background, of classes that are absent); a protocol names one choice for each:

- `pnp`: as the released PnP-OVSS code has it, errors of evaluation included;
- `pnp-fixed`: the same, mended: void is not scored, background only where it is a class, a class
  that is predicted but never true scores 0, names are the data set's, no class found means none;
- `tcl`: the unified protocol of TCL (github.com/khanrc/tcl), windows of 448 pixels;
- `sclip`: the settings of SCLIP (github.com/wangf3014/SCLIP), windows of 224 pixels, with its
  names and thresholds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.io.palette import VOID
from ovsslib.lookup import Positive, Range, Share, check_fields, pick
from ovsslib.metrics import boundary
from ovsslib.metrics.counts import Tally, confusion_matrix, counts_from_confusion
from ovsslib.metrics.iou import Absent
from ovsslib.protocols.values import VALUES, VARIANTS
from ovsslib.protocols.vocabulary import Vocabulary
from ovsslib.protocols.windows import Window

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset

Fields = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Protocol:
    """One way to turn a method's label maps into a figure.

    Attributes:
        name: How tables call it.
        void: Label that is not scored, or `"background"`: 255 counts as label 0.
        background_covered: Rule for PnP-OVSS's background plane (`PnPConfig.background`) where
            labels cover the image: it competes only when fewer than three classes are looked for.
        background_uncovered: The same for the other data sets.
        absent: What a class without ground truth in the set scores (`ovsslib.metrics.iou`).
        scored: Labels of the headline mIoU: `"classes"`, with background where it is a class, or
            `"all"`, label 0 included whatever it means.
        no_class: What is looked for in an image without a recognised class: `"nothing"`, or the
            `"first"` class.
        window: Sliding windows, for every method.
        names: File in `ovsslib/vocab/protocols` with names that differ from the data set's.
        name_spaces: False removes spaces within the data set's own names.
        templates: Sentences a CLIP method puts names into, see `ovsslib.protocols.templates`;
            PnP-OVSS has its own single prompt.
        logit_scale: Similarities times this go into a softmax over names (methods that give
            similarities, see `ovsslib.protocols.adapter`).
        prob_thd: A pixel whose highest probability is below it is background (such methods).
        area_thd: So is a class with no more than this share of the object pixels (such methods).
        background_plane: Height of a constant plane that stands for background (methods that give
            probabilities of their own, such as TCL).
        usual_filter: The class filter of the published figures; information, a run names its own.
        vocabulary: A user's own names, which replace those of the protocol and of the data set.
        variants: Fields that differ on some data sets: `(("voc21", (("names", "…"),)),)`; empty
            once `resolved`.

    Raises:
        OvssError: A value is of another type or out of range.
    """

    name: str
    void: Annotated[int, Range(0, VOID)] | Literal["background"] = VOID
    background_covered: str = "few"
    background_uncovered: str = "always"
    absent: Absent = "count"
    scored: Literal["classes", "all"] = "classes"
    no_class: Literal["nothing", "first"] = "nothing"
    window: Window | None = None
    names: str | None = None
    name_spaces: bool = True
    templates: str | None = None
    logit_scale: Positive | None = None
    prob_thd: Share | None = None
    area_thd: Share | None = None
    background_plane: Share | None = None
    usual_filter: str | None = None
    vocabulary: Vocabulary | None = None
    variants: tuple[tuple[str, Fields], ...] = ()

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self, "a protocol's ")

    def resolved(self, dataset: str) -> Protocol:
        """The protocol with its values for one data set.

        Args:
            dataset: Its name; one that no variant names keeps the protocol's own values.

        Example:
            >>> get_protocol("sclip").resolved("voc21").logit_scale
            65.0
        """
        changes = dict(dict(self.variants).get(dataset, ()))
        return dataclasses.replace(self, **changes, variants=())

    def background(self, dataset: Dataset) -> str:
        """`PnPConfig.background` for this data set."""
        return self.background_covered if dataset.covered else self.background_uncovered

    def scored_classes(self, dataset: Dataset) -> tuple[int, ...]:
        """Labels that the headline mIoU averages over.

        Background counts as a class where it is one (VOC: 21), not where it is void (VOC 20) or
        clutter that nobody labelled (Diorama: 20), unless `scored` is `"all"`.
        """
        first = 0 if dataset.background or self.scored == "all" else 1
        return tuple(range(first, len(dataset.classes) + 1))

    def expand(
        self, dataset: Dataset, looked_for: Sequence[int]
    ) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """What a method is given: each name is a class of its own to it.

        Where background is a class of the data set and the protocol has names for it, they come
        first, with label 0. A name that two labels share goes to the first of them, as an arg max
        over equal scores would have it; under `sclip`, COCO-Object's bed is one of the names of
        background and therefore never found. A vocabulary's distractors come last, with label 0.

        Args:
            dataset: The data set.
            looked_for: Labels (1..C) of the classes that the filter found.

        Returns:
            Labels and names, one per name; a label repeats with each of its names.

        Example:
            >>> from ovsslib.datasets import load_dataset
            >>> get_protocol("pnp-fixed").expand(load_dataset("diorama"), (2, 1))
            ((2, 1), ('bus', 'car'))
        """
        labels = list(looked_for)
        if not labels and self.no_class == "first":
            labels = [1]
        other = self._names()
        given: dict[str, tuple[int, str]] = {}
        if dataset.background:
            labels.insert(0, 0)
        for label in labels:
            own = dataset.classes[label - 1] if label else "background"
            plain = () if not label else (own if self.name_spaces else own.replace(" ", ""),)
            for name in other.get(own, plain):
                given.setdefault(name.casefold(), (label, name))
        for name in self.vocabulary.distractors if self.vocabulary else ():
            given.setdefault(name.casefold(), (0, name))
        return tuple(label for label, _ in given.values()), tuple(
            name for _, name in given.values()
        )

    def _names(self) -> dict[str, tuple[str, ...]]:
        """Names that differ from the data set's."""
        from ovsslib.io.class_names import protocol_names

        own = {} if self.names is None else protocol_names(self.names)
        return own | dict(self.vocabulary.names if self.vocabulary else ())

    def template_list(self) -> tuple[Callable[[str], str], ...]:
        """The sentences of `templates`, each a function of a name."""
        from ovsslib.protocols.templates import templates

        return () if self.templates is None else templates(self.templates)

    def compared(
        self, labels: np.ndarray, looked_for: Sequence[int], truth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, int | None]:
        """Answer and truth as labels of the data set, ready to be counted.

        Args:
            labels: (H, W) integers into `looked_for`, -1 for background.
            looked_for: Data-set label of each name the method was given, in its order; a label may
                repeat, and 0 is background (see `expand`).
            truth: (H, W) data-set labels, 0 background, 255 void.

        Returns:
            (H, W) answer, (H, W) truth, and which label of the truth is not scored, if one is:
            arguments of `ovsslib.metrics.counts.confusion_matrix` and
            `ovsslib.metrics.boundary.counts`.

        Raises:
            OvssError: Shapes differ or a label is out of range.
        """
        if labels.shape != truth.shape:
            raise OvssError(f"labels {labels.shape} and ground truth {truth.shape} differ in shape")
        # One look-up for all pixels. (Renaming ids in place, one after another, as the released
        # code does, lets ids chain into each other.) Index 0 is background: labels are shifted by
        # one.
        table = np.array([0, *looked_for], np.int64)
        if labels.size and (labels.min() < -1 or labels.max() >= len(looked_for)):
            wrong = labels.min() if labels.min() < -1 else labels.max()
            raise OvssError(f"a label map holds {wrong}, outside its {len(looked_for)} classes")
        prediction = table[labels.astype(np.int64) + 1]
        if self.void == "background":
            return prediction, np.where(truth == VOID, 0, truth), None
        return prediction, truth, self.void

    def tally(
        self, labels: np.ndarray, looked_for: Sequence[int], truth: np.ndarray, n: int
    ) -> Tally:
        """Count one image.

        Args:
            labels: As in `compared`.
            looked_for: As there.
            truth: As there.
            n: Number of the data set's classes, without background.

        Returns:
            A tally of one image over n + 1 labels, background first.

        Raises:
            OvssError: Shapes differ or a label is out of range.
        """
        prediction, true, ignore = self.compared(labels, looked_for, truth)
        matrix = confusion_matrix(prediction, true, n + 1, ignore=ignore)
        near = boundary.counts(prediction, true, n + 1, ignore=ignore)
        return Tally(counts_from_confusion(matrix), near, matrix)

    def to_dict(self) -> dict[str, Any]:
        """Fields for a results file.

        The oldest always, with two that followed from them (`resize` says whether there are
        windows), later ones where they are not the default: names of results that are older than a
        field stay as they are.
        """
        out: dict[str, Any] = {
            "name": self.name,
            "resize": "windows" if self.window else "squash",
            "scored_at": "original",
        }
        for position, field in enumerate(dataclasses.fields(self)):
            value = getattr(self, field.name)
            if field.name != "variants" and (position < 5 or value != field.default):
                plain = isinstance(value, Window | Vocabulary)
                out[field.name] = value.to_dict() if plain else value
        return out


def _made(name: str) -> Protocol:
    """A protocol out of the tables of `ovsslib.protocols.values`."""
    variants = VARIANTS.get(name, {})
    return Protocol(
        name,
        **VALUES[name],
        variants=tuple((data, tuple(fields.items())) for data, fields in variants.items()),
    )


PROTOCOLS: dict[str, Protocol] = {name: _made(name) for name in VALUES}


def get_protocol(name: str) -> Protocol:
    """A protocol by name.

    Raises:
        OvssError: Unknown name; says the nearest one.

    Example:
        >>> get_protocol("pnp-fixed").absent
        'count'
    """
    return pick("protocol", name, PROTOCOLS)
