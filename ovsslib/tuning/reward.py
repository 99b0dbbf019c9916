"""The reward that tunes PnP-OVSS without a mask: CLIP sees what a mask leaves of the image.

The poster's equations 4 and 5: an image's reward is the number of its classes k for which CLIP is
surer of k in the image masked for k than in a black image. Which classes the image has must
be known; where they are is not asked.

Letters: C candidates, K classes of an image, n classes of the data set, S side in pixels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError
from ovsslib.lookup import check_fields, check_names
from ovsslib.vlm import DTYPES, open_device
from ovsslib.vlm.finite import check_scores
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

BATCH = 16
"""Masked images in one pass of CLIP. On a CPU, small batches stay in its cache: micro-clip on two
cores takes 2.2 ms an image at 8 or 16, 2.8 at 64 and 4.1 at 256."""


@dataclass(frozen=True)
class RewardOptions:
    """What the reward is made of.

    Attributes:
        model: As in `ovsslib.filters.clip.Clip`. The paper's is OpenAI's ViT-L/14 at 336 pixels,
            `"ViT-L-14-336-quickgelu:openai"`, or, as the activation follows the weights,
            `"ViT-L-14-336:openai"`.
        scope: The classes that the softmax goes over: all of the data set (the poster) or those of
            the image (the authors' code). With one class in the image, the latter's
            probability is 1 whatever CLIP sees, so that nothing wins.
        contrast: What takes the place of what is masked, and the image to beat: black, or the
            mean colour of CLIP's training images, which is 0 once normalised.
        mask: `"hard"`: 1 where a mask is at least 0.5, else 0 (a mask that is cut out already, as
            by an arg max over classes, stays as it is); `"soft"`: image and contrast are mixed
            by the mask.
        prompt: Words before a class's name.
        dtype: What CLIP computes images in, one of `ovsslib.vlm.DTYPES`. Half precision takes less
            time where the machine has it, and changes few decisions.

    Raises:
        OvssError: A value is unknown (the nearest is named) or of the wrong type.
    """

    model: str = "micro-clip"
    scope: Literal["dataset", "image"] = "dataset"
    contrast: Literal["black", "mean"] = "black"
    mask: Literal["hard", "soft"] = "hard"
    prompt: str = "a picture of a"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Check values and types."""
        check_fields(self, "the reward's ")
        check_names("dtype of the reward", [self.dtype], DTYPES)

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
    def shown(self) -> tuple[str, ...]:
        """What decides which images CLIP is shown; options that share it share CLIP's passes."""
        return self.model, self.contrast, self.mask, self.prompt

    @property
    def label(self) -> str:
        """What differs from the paper's reward, model and dtype aside; `"paper"`: nothing.

        Example:
            >>> RewardOptions(scope="image", contrast="mean").label
            'scope=image, contrast=mean'
        """
        paper = vars(RewardOptions(model=self.model, dtype=self.dtype))
        changed = [f"{name}={value}" for name, value in vars(self).items() if value != paper[name]]
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
            >>> [options.label for options in RewardOptions().ablated(["scope"])]
            ['paper', 'scope=image']
        """
        kinds = get_type_hints(RewardOptions)
        values = {name: get_args(k) for name, k in kinds.items() if get_origin(k) is Literal}
        check_names("option of the reward to ablate", names, values)
        combinations = [
            dataclasses.replace(self, **dict(zip(names, chosen, strict=True)))
            for chosen in itertools.product(*(values[name] for name in names))
        ]
        return [self, *(options for options in combinations if options != self)]


class Reward:
    """The reward for one list of classes.

    Args:
        classes: Names of the data set's n classes; `classes[k - 1]` has label k.
        options: See `RewardOptions`; None for the paper's.
        device: Such as `"cpu"`; None for the best there is.
        download: Whether the network may be used for a model that is not cached yet.

    Attributes:
        size: Side S in pixels of the square that CLIP takes.
        model: The CLIP, of open_clip.

    Raises:
        OvssError: No class, or a model that cannot be loaded or does not take square input.

    Example:
        >>> reward = Reward(["cat", "car"])
        >>> pixels = torch.ones(3, reward.size, reward.size)
        >>> nothing = np.zeros((1, 2, reward.size, reward.size), bool)
        >>> reward.wins(pixels, nothing, labels=[1, 2])
        array([[False, False]])
    """

    @own_state()
    def __init__(
        self,
        classes: Sequence[str],
        options: RewardOptions | None = None,
        *,
        device: str | None = None,
        download: bool = False,
    ) -> None:
        import open_clip

        from ovsslib.filters.clip import encode_texts, load_open_clip

        if isinstance(classes, str) or not classes:
            raise OvssError(f"the reward needs a list of class names, got {classes!r}")
        options = options or RewardOptions()
        self.classes, self.options = tuple(classes), options
        self.device = open_device(device)
        model, _ = load_open_clip(options.model, str(self.device), download=download)
        settings = open_clip.get_model_preprocess_cfg(model)
        size = settings["size"]
        sides = {size} if isinstance(size, int) else set(size)
        if len(sides) != 1:
            raise OvssError(f"CLIP model {options.model!r} does not take square input: {size}")
        self.size = int(sides.pop())
        # CLIP's own preparation would cut off the ends of the longer side, which masks cover too.
        self._prepare = open_clip.image_transform(
            self.size,
            is_train=False,
            mean=settings["mean"],
            std=settings["std"],
            resize_mode="squash",
            interpolation=settings.get("interpolation"),
        )
        black = -torch.tensor(settings["mean"]) / torch.tensor(settings["std"])
        colour = black if options.contrast == "black" else torch.zeros(3)
        self._contrast = colour.view(3, 1, 1).to(self.device)
        texts = [f"{options.prompt} {name}".strip() for name in self.classes]
        features = encode_texts(model, options.model, texts, download=download)
        self._texts = features.double()
        self._scale = model.logit_scale.exp().item()
        self._dtype = getattr(torch, options.dtype)
        model.visual.to(self._dtype)
        self.model = model
        flat = self._contrast.expand(1, 3, self.size, self.size)
        self._contrast_logits = self._similarities(flat.contiguous())

    @own_state()
    def prepare(self, image: Image.Image) -> Tensor:
        """An image as CLIP takes it: (3, S, S) float32, all of it, squashed to the square."""
        prepared: Tensor = self._prepare(image)
        return prepared

    def wins(self, pixels: Tensor, masks: np.ndarray | Tensor, labels: Sequence[int]) -> np.ndarray:
        """For which classes each candidate's mask beats the contrast image.

        Args:
            pixels: (3, S, S), from `prepare`.
            masks: (C, K, S, S) in 0..1 or bool: of C candidates, for the image's K classes.
            labels: Those classes, 1..n, each once.

        Returns:
            (C, K) bool: Pr(mask * image, k) > Pr(contrast, k). A tie is no win, so neither is a
            mask that shows nothing. An image's reward is the number of wins.

        Raises:
            OvssError: A shape, a mask's value or a label is wrong.
        """
        wins: np.ndarray = self.wins_by_scope(pixels, masks, labels, [self.options.scope])[0]
        return wins

    @own_state()
    def wins_by_scope(
        self,
        pixels: Tensor,
        masks: np.ndarray | Tensor,
        labels: Sequence[int],
        scopes: Sequence[str],
    ) -> np.ndarray:
        """As `wins`, for several values of the option `scope`, which share CLIP's passes.

        Returns:
            (scopes, C, K) bool.
        """
        checked = self._checked(pixels, masks, labels)
        count, k = checked.shape[:2]
        if not checked.numel():
            return np.zeros((len(scopes), count, k), bool)
        distinct, index = _distinct(checked.flatten(0, 1))
        logits = self._masked_logits(pixels, distinct)
        own = torch.as_tensor([label - 1 for label in labels])
        chosen = index.view(count, k), torch.arange(k)
        wins = []
        for scope in scopes:
            rivals = own if scope == "image" else slice(None)
            # Logarithms of probabilities tell apart what would both round to 1.
            masked, contrast = (
                f[:, own] - f[:, rivals].logsumexp(1, keepdim=True)
                for f in (logits, self._contrast_logits)
            )
            wins.append((masked > contrast)[chosen].numpy())
        return np.stack(wins)

    def _checked(self, pixels: Tensor, masks: np.ndarray | Tensor, labels: Sequence[int]) -> Tensor:
        """Masks (C, K, S, S) as they are used: float32 in 0..1, 0 or 1 where they are hard."""
        side, n, given = self.size, len(self.classes), torch.as_tensor(masks)
        if tuple(pixels.shape) != (3, side, side):
            raise OvssError(f"the reward's image must be (3, {side}, {side}); use prepare()")
        if given.ndim != 4 or given.shape[1:] != (len(labels), side, side):
            raise OvssError(
                f"the reward's masks must be (C, {len(labels)}, {side}, {side}) for "
                f"{len(labels)} labels, got {tuple(given.shape)}"
            )
        if not all(1 <= label <= n for label in labels) or len(set(labels)) != len(labels):
            raise OvssError(f"an image's labels must be 1 to {n}, each once, got {list(labels)}")
        values = given.to(torch.float32)
        # Written so that NaN fails too.
        if values.numel() and not (values.min() >= 0 and values.max() <= 1):
            raise OvssError("the reward's masks must lie between 0 and 1")
        return (values >= 0.5).float() if self.options.mask == "hard" else values

    def _masked_logits(self, pixels: Tensor, masks: Tensor) -> Tensor:
        """Logits (U, n) of an image under U masks (U, S, S), batch by batch."""
        image = pixels.to(self.device, torch.float32)
        parts = []
        for part in masks.split(BATCH):
            # `lerp` gives either end exactly.
            mixed = torch.lerp(self._contrast, image, part.to(self.device).unsqueeze(1))
            differs = (mixed != self._contrast).flatten(1).any(1)
            logits = self._contrast_logits.repeat(len(part), 1)
            # The contrast image itself would tie, but for rounding: it is not encoded again.
            if differs.any():
                logits[differs.cpu()] = self._similarities(mixed[differs])
            parts.append(logits)
        return torch.cat(parts)

    def _similarities(self, images: Tensor) -> Tensor:
        """Equation 5's f: (N, n) float64 cosines of images (N, 3, S, S), scaled by CLIP."""
        features = F.normalize(
            self.model.encode_image(images.to(self._dtype)).float(), dim=-1
        ).double()
        logits: Tensor = (self._scale * (features @ self._texts.T)).cpu()
        check_scores(logits.numpy(), self.options.model)
        return logits


def _distinct(masks: Tensor) -> tuple[Tensor, Tensor]:
    """The different ones (U, S, S) among N masks (N, S, S), and which of them each is, (N,)."""
    numbers: dict[bytes, int] = {}
    firsts: list[int] = []
    index: list[int] = []
    for row, mask in enumerate(masks.numpy(force=True)):
        key = hashlib.blake2b(np.ascontiguousarray(mask).data, digest_size=16).digest()
        if key not in numbers:
            numbers[key] = len(firsts)
            firsts.append(row)
        index.append(numbers[key])
    return masks[firsts], torch.as_tensor(index)
