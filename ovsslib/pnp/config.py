"""The settings of PnP-OVSS: one frozen dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from ovsslib.io.json import digest
from ovsslib.lookup import Count, Natural, Range, Seed, Share, check_fields, kinds_of, unknown

Steps = Annotated[int, Range(1, 1000)]
Width = Annotated[float, Range(1e-3, 1e6)]
Weight = Annotated[float, Range(0, 1e6)]
Rounds = Annotated[int, Range(0, 1000)]
Distances = Annotated[tuple[Steps, ...], Range(1)]

LATER = ("pamr", "pamr_dilations", "crf_backend")
"""Fields that came after results were stored: left out of `to_dict` where they are the default."""


@dataclasses.dataclass(frozen=True)
class PnPConfig:
    """All settings of the five steps (paper: section 3 and Table 2).

    The fields after `seed` name the places where the authors' released code departs from the
    paper or errs; their defaults are the paper's or the corrected behaviour, and the preset
    `"released-code"` sets them as released.

    Attributes:
        layer: Text-encoder layer whose cross-attention is read, counted from 1.
        head: Attention head, counted from 1; None takes the mean over heads.
        salience: `"gradcam"`, `"attention"` (no gradient at all) or `"random"` (seeded
            uniform maps, the baseline).
        score: What GradCAM differentiates: `"match"`, the match logit of the paper, or
            `"margin"`, the match logit minus the no-match logit.
        threshold: Values of the min-max normalised map below it become 0, in [0, 1].
        rounds: Number of salience maps that are summed, round 0 included; 1 means no dropout.
        patches_per_round: Patches blacked out after each round.
        blur: Standard deviation of the blur as a fraction of the longer image side; 0 is off. Each
            plane is min-max normalised after it.
        crf: Whether the dense CRF runs.
        crf_iterations: Mean-field iterations.
        crf_gaussian_sxy: Standard deviation in pixels of the smoothness kernel.
        crf_gaussian_compat: Its weight.
        crf_bilateral_sxy: Standard deviation in pixels of the appearance kernel.
        crf_bilateral_srgb: Standard deviation in grey levels (0 to 255) of the appearance kernel.
        crf_bilateral_compat: Its weight.
        crf_backend: What computes the CRF: `"pydensecrf"`, or `"torch"` (`ovsslib.densecrf`) and
            with it all of refinement, on the model's device (`ovsslib.pnp.batched`).
        pamr: Iterations of pixel-adaptive mask refinement (`ovsslib.pnp.pamr`), 0 for none. It
            works on the planes that the CRF would get, after the blur and, where the CRF runs,
            too, before it; to have it in place of the CRF, set `crf` to False.
        pamr_dilations: Distances in pixels of the neighbours that it looks at.
        background: When a background plane competes: `"always"`, `"never"`, or `"few"`
            (only for images with fewer than three classes).
        max_side: Images whose longer side exceeds this many pixels are refined at this size and
            labels brought back to full size; None refines every image at its own size.
        image_size: Side in pixels of the network's square input; None takes the model's own.
        prompt: Words before the class names.
        separator: What stands between two class names.
        classes_per_prompt: Most class names in one prompt; None means as many as the text encoder
            has positions for.
        seed: Seed of `salience="random"`.
        last_name: Tokens of the last name of a prompt give their `"mean"`, like every other
            name's, or their `"sum"` (released).
        name_spaces: False removes spaces within class names (released: `trafficlight`).
        drop_value: Dropped patches are `"black"` or `"mean"` (0 after normalisation,
            released).
        drop_zero: Whether a round is filled up with patches without salience, dropped ones
            among them (released).
        drop_sep: Whether `[SEP]` of a prompt shorter than the longest of its batch counts when
            patches to drop are chosen (released). It makes results depend on the batch.
        ties: Among equally salient patches the `"first"` are dropped, or those that numpy's
            default `argsort` puts last (`"numpy"`, released; differs between processors).
        round0_twice: Whether the first map is added twice to the sum (released).
        align_corners: Whether maps are upsampled with aligned corners (released) instead of
            aligned patch edges.
        normalise: Whether planes are min-max normalised also when the blur is off (released code:
            not, so that names with strong raw salience win).
        constant_planes: A plane without contrast after the blur is clipped to [0, 1]
            (`"keep"`) or becomes NaN (`"nan"`, released: it swallows the image).
    """

    layer: Count = 8
    head: Count | None = 10
    salience: Literal["gradcam", "attention", "random"] = "gradcam"
    score: Literal["match", "margin"] = "match"
    threshold: Share = 0.15
    rounds: Steps = 4
    patches_per_round: Natural = 10
    blur: Share = 0.05
    crf: bool = True
    crf_iterations: Steps = 10
    crf_gaussian_sxy: Width = 3.0
    crf_gaussian_compat: Weight = 7.0
    crf_bilateral_sxy: Width = 50.0
    crf_bilateral_srgb: Width = 5.0
    crf_bilateral_compat: Weight = 10.0
    crf_backend: Literal["pydensecrf", "torch"] = "pydensecrf"
    pamr: Rounds = 0
    pamr_dilations: Distances = (8, 16)
    background: Literal["always", "few", "never"] = "always"
    max_side: Annotated[int, Range(16)] | None = 1024
    image_size: Count | None = None
    prompt: str = "A picture of"
    separator: str = " "
    classes_per_prompt: Count | None = None
    seed: Seed = 0
    last_name: Literal["mean", "sum"] = "mean"
    name_spaces: bool = True
    drop_value: Literal["black", "mean"] = "black"
    drop_zero: bool = False
    drop_sep: bool = False
    ties: Literal["first", "numpy"] = "first"
    round0_twice: bool = False
    align_corners: bool = False
    normalise: bool = True
    constant_planes: Literal["keep", "nan"] = "keep"

    def __post_init__(self) -> None:
        """Check types and ranges; whole numbers become float where a float is wanted."""
        check_fields(self)
        for name, kind in kinds_of(PnPConfig).items():
            if kind in (Share, Width, Weight):
                # A frozen dataclass has no other door for tidying its own fields.
                object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "pamr_dilations", tuple(self.pamr_dilations))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> PnPConfig:
        """Make a config from a mapping, such as one read from JSON.

        Args:
            fields: Field name to value; fields left out keep their defaults.

        Raises:
            OvssError: A key is unknown (the nearest is named) or a value has the wrong type.

        Example:
            >>> PnPConfig.from_dict({"layer": 4, "head": None}).layer
            4
        """
        return PnPConfig().replace(**fields)

    def replace(self, **fields: Any) -> PnPConfig:
        """A copy with some fields changed.

        Raises:
            OvssError: As `from_dict`.

        Example:
            >>> PnPConfig().replace(rounds=1).rounds
            1
        """
        for key in fields:
            if key not in kinds_of(PnPConfig):
                raise unknown("setting", key, kinds_of(PnPConfig))
        return dataclasses.replace(self, **fields)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values, in their order of declaration; see `LATER`."""
        return fields_of(self, LATER)

    def hash(self) -> str:
        """Ten hexadecimal characters that change when any field does.

        Example:
            >>> PnPConfig().hash() == PnPConfig().hash() != PnPConfig(layer=1).hash()
            True
        """
        return digest(self.to_dict(), 10, separators=(",", ":"))


def fields_of(settings: Any, later: Collection[str]) -> dict[str, Any]:
    """The fields of a dataclass as plain JSON values.

    Args:
        settings: The instance.
        later: Fields to be left out where they have their default, so that hashes of settings from
            before there were such fields stay as they are.

    Example:
        >>> fields_of(Range(1), ("high", "above"))
        {'low': 1}
    """
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    values = dataclasses.asdict(settings)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name not in later or value != defaults[name]
    }
