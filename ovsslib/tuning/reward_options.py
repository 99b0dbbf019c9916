"""What the reward that tunes without masks is made of."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ovsslib.lookup import check_names, check_types


@dataclass(frozen=True)
class RewardOptions:
    """What the reward is made of.

    Attributes:
        model: As in `ovsslib.filters.clip.Clip`. The paper's is OpenAI's ViT-L/14 at 336 pixels,
            `"ViT-L-14-336-quickgelu:openai"`; without `-quickgelu` open_clip would build it
            with another activation than it was trained with.
        scope: The classes that the softmax goes over: all of the data set (the poster) or those of
            the image (the authors' code). With one class in the image, the latter's
            probability is 1 whatever is seen, so that nothing wins.
        contrast: What takes the place of what is masked, and the image to beat: black, or the
            mean colour of CLIP's training images, which is 0 once normalised.
        mask: `"hard"`: 1 where a mask is at least 0.5, else 0 (a mask that is cut out already, as
            by an arg max over classes, stays as it is); `"soft"`: image and contrast are mixed
            by the mask.
        outside: `"penalised"` takes one win away for each class that what its mask leaves out
            shows better than the contrast image does, too (delete and compare; not the paper's).
        token_contrast: Whether an image's reward is scaled by 1 - the mean cosine similarity
            between its classes' masks (a variant in the authors' records), so that masks which
            show the same for all classes earn nothing.
        prompt: Words before a class's name.

    Raises:
        OvssError: A value is unknown (the nearest is named) or of the wrong type.
    """

    model: str = "micro-clip"
    scope: Literal["dataset", "image"] = "dataset"
    contrast: Literal["black", "mean"] = "black"
    mask: Literal["hard", "soft"] = "hard"
    outside: Literal["ignored", "penalised"] = "ignored"
    token_contrast: bool = False
    prompt: str = "a picture of a"

    def __post_init__(self) -> None:
        """Check values and types."""
        check_types(vars(self), get_type_hints(RewardOptions), "the reward's ")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> RewardOptions:
        """Options from a mapping, such as one read from JSON; what is left out keeps its default.

        Raises:
            OvssError: A key is unknown (the nearest is named), or as above.

        Example:
            >>> RewardOptions.from_dict({"mask": "soft"}).mask
            'soft'
        """
        check_names("setting of the reward", fields, get_type_hints(cls))
        return cls(**fields)

    @property
    def sight(self) -> tuple[str, ...]:
        """What decides which images CLIP is shown; options that share it share CLIP's passes."""
        return self.model, self.contrast, self.mask, self.prompt

    @property
    def label(self) -> str:
        """What differs from the paper's reward; `"paper"` where nothing does.

        Example:
            >>> RewardOptions(scope="image", contrast="mean").label
            'scope=image, contrast=mean'
        """
        plain = RewardOptions(model=self.model)
        changed = [
            f"{name}={str(value).lower() if isinstance(value, bool) else value}"
            for name, value in vars(self).items()
            if value != getattr(plain, name)
        ]
        return ", ".join(changed) or "paper"

    def ablated(self, names: Sequence[str]) -> list[RewardOptions]:
        """All combinations of the values of some options, the others as they are.

        Args:
            names: Options with a fixed set of values.

        Returns:
            These options first.

        Raises:
            OvssError: There is no such option.

        Example:
            >>> [one.label for one in RewardOptions().ablated(["scope"])]
            ['paper', 'scope=image']
        """
        kinds = get_type_hints(RewardOptions)
        values = {
            name: (False, True) if kind is bool else get_args(kind)
            for name, kind in kinds.items()
            if kind is bool or get_origin(kind) is Literal
        }
        check_names("option of the reward to ablate", names, values)
        found = [
            dataclasses.replace(self, **dict(zip(names, chosen, strict=True)))
            for chosen in itertools.product(*(values[name] for name in names))
        ]
        return [self, *(one for one in found if one != self)]
