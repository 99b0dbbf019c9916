"""Where the authors' released code departs from the paper: one list, from which all else is made.

A departure in the method is a field of `ovsslib.pnp.config.PnPConfig`: `DEVIATIONS` lists them with
both values, which are read from the presets. Departures in evaluation or in cost are settled
otherwise: `DECISIONS`. `ovsslib.evaluate.comparison` measures them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.presets import preset

#: The paper's behaviour, and all departures together, among the names of settings.
PAPER, ALL = "paper", "all"


@dataclass(frozen=True)
class Deviation:
    """A departure in the method.

    Attributes:
        field: Field of `PnPConfig`.
        step: The paper's step it belongs to.
        meaning: What the released code does.
    """

    field: str
    step: int
    meaning: str

    @property
    def paper(self) -> Any:
        """The field's value for the paper's, or the mended, behaviour."""
        return getattr(preset("blip"), self.field)

    @property
    def released(self) -> Any:
        """The field's value as released."""
        return getattr(preset("released-code"), self.field)


DEVIATIONS: tuple[Deviation, ...] = (
    Deviation("name_spaces", 2, "names lose their spaces: trafficlight"),
    Deviation("last_name", 3, "tokens of the prompt's last name are summed, others' averaged"),
    Deviation("round0_twice", 4, "the map of round 0 is added twice"),
    Deviation("drop_value", 4, "dropped patches take the mean colour instead of black"),
    Deviation("drop_zero", 4, "every round is filled up with patches without salience"),
    Deviation("ties", 4, "equally salient patches: numpy's argsort chooses, not their order"),
    Deviation("drop_sep", 4, "of shorter prompts, [SEP] has a say in what is dropped"),
    Deviation("align_corners", 5, "maps are upsampled with aligned corners, not patch edges"),
    Deviation("normalise", 5, "planes are not normalised where the blur is off"),
    Deviation("constant_planes", 5, "a plane without contrast becomes NaN and takes the image"),
)
"""Every field in which the presets `"blip"` and `"released-code"` differ."""


@dataclass(frozen=True)
class Decision:
    """A departure that is no setting of the method.

    Attributes:
        released: What the released code does.
        here: What this library does.
        where: The name in this library that does it.
    """

    released: str
    here: str
    where: str


DECISIONS: tuple[Decision, ...] = (
    Decision(
        "class ids are written into the label map one after another, so that ids chain",
        "always a look-up table",
        "protocols.protocol.Protocol.tally",
    ),
    Decision(
        "VOC's void (255) counts as background",
        "void is not scored; what is void belongs to the protocol",
        "protocols.protocol.Protocol.void",
    ),
    Decision(
        "class 0 is scored, whatever it means in the data set",
        "scored where background is a class; belongs to the protocol",
        "protocols.protocol.Protocol.scored_classes",
    ),
    Decision(
        "classes without ground truth are dropped from the mean",
        "the protocol says which: 'count' or 'drop'",
        "protocols.protocol.Protocol.absent",
    ),
    Decision(
        "an image without a recognised class is forced to have the first one",
        "it is all background; only the protocol 'pnp' forces one too",
        "protocols.protocol.Protocol.no_class",
    ),
    Decision(
        "the whole network is differentiated and the maps of all layers are kept",
        "only from the match score to the chosen layer; the same figures at less cost",
        "pnp.salience.attention_gradient",
    ),
)
"""Departures that are no field, each with what is done instead."""


def settings(base: PnPConfig) -> dict[str, PnPConfig]:
    """The settings that are compared.

    Args:
        base: Where all else comes from, such as the model's own preset.

    Returns:
        `"paper"`, each of `DEVIATIONS` by the name of its field, and `"all"`.
    """
    paper = base.replace(**{deviation.field: deviation.paper for deviation in DEVIATIONS})
    single = {
        deviation.field: paper.replace(**{deviation.field: deviation.released})
        for deviation in DEVIATIONS
    }
    every = paper.replace(**{deviation.field: deviation.released for deviation in DEVIATIONS})
    return {PAPER: paper, **single, ALL: every}
