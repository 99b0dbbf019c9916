"""The reward that tunes PnP-OVSS without a mask: CLIP looks at what a mask leaves of the image.

The poster's equations 4 and 5: an image's reward is the number of its classes k for which CLIP is
surer of k in the image masked for k than in a black image. Which classes the image has must
be known; where they are is not asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError
from ovsslib.tuning.clip_encoder import Tower, fast_bfloat16, unsure
from ovsslib.tuning.reward_options import RewardOptions

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


class Reward:
    """The reward for one list of classes.

    Args:
        classes: Names of the data set's n classes; `classes[k - 1]` has label k.
        options: See `RewardOptions`; None for the paper's.
        device: Such as `"cpu"`; None for the best there is.
        download: Whether the network may be used for a model that is not cached yet.
        batch: Masked images in one pass. On a CPU, small batches stay in its cache: micro-clip
            on two cores takes 2.2 ms an image at 8 or 16, 2.8 at 64 and 4.1 at 256.

    Attributes:
        size: Side S in pixels of the square that CLIP reads.

    Raises:
        OvssError: No class, a batch below 1, or a model that cannot be loaded or reads no squares.

    Example:
        >>> reward = Reward(["cat", "car"])
        >>> pixels = torch.ones(3, reward.size, reward.size)
        >>> nothing = np.zeros((1, 2, reward.size, reward.size), bool)
        >>> reward.wins(pixels, nothing, labels=[1, 2])
        array([[False, False]])
    """

    def __init__(
        self,
        classes: Sequence[str],
        options: RewardOptions | None = None,
        *,
        device: str | None = None,
        download: bool = False,
        batch: int = 16,
    ) -> None:
        import open_clip

        from ovsslib.filters.clip import encode_texts, load_open_clip

        if isinstance(classes, str) or not classes:
            raise OvssError(f"the reward needs a list of class names, got {classes!r}")
        if batch < 1:
            raise OvssError(f"the reward's batch must be 1 or more, got {batch}")
        options = options or RewardOptions()
        self.classes, self.options, self.batch = tuple(classes), options, batch
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model, _ = load_open_clip(options.model, str(self.device), download=download)
        known = open_clip.get_model_preprocess_cfg(model)
        sides = {known["size"]} if isinstance(known["size"], int) else set(known["size"])
        if len(sides) != 1:
            raise OvssError(f"CLIP model {options.model!r} reads no squares: {known['size']}")
        self.size = int(sides.pop())
        # CLIP's own way would cut off the longer side's ends, which masks speak of too.
        self._prepare = open_clip.image_transform(
            self.size,
            is_train=False,
            mean=known["mean"],
            std=known["std"],
            resize_mode="squash",
            interpolation=known.get("interpolation"),
        )
        black = -torch.tensor(known["mean"]) / torch.tensor(known["std"])
        colour = black if options.contrast == "black" else torch.zeros(3)
        self._contrast = colour.view(3, 1, 1).to(self.device)
        texts = [f"{options.prompt} {name}".strip() for name in self.classes]
        found = encode_texts(model, options.model, texts, download=download)
        self._texts = found.double()
        self._scale = model.logit_scale.exp().item()
        self._tower = Tower(model)
        rounded = Tower(model, torch.bfloat16) if fast_bfloat16() else self._tower
        self._quick = rounded if rounded.own else self._tower
        with torch.inference_mode():
            flat = self._contrast.expand(1, 3, self.size, self.size)
            self._to_beat = self._similarities(flat.contiguous(), self._tower)

    def prepare(self, image: Image.Image) -> Tensor:
        """An image as CLIP reads it: (3, S, S) float32, all of it, squashed to the square."""
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
            mask that shows nothing.

        Raises:
            OvssError: A shape, a mask's value or a label is wrong.
        """
        checked, scope = self._checked(pixels, masks, labels), self.options.scope
        return self._wins(pixels, checked, labels, [scope])[scope]

    def score(
        self, pixels: Tensor, masks: np.ndarray | Tensor, labels: Sequence[int]
    ) -> np.ndarray:
        """Each candidate's reward for an image.

        Args:
            pixels: As in `wins`.
            masks: As in `wins`.
            labels: As in `wins`.

        Returns:
            (C,) float64: number of wins, 0..K; with `outside="penalised"` less what the outside
            wins, -K..K; with `token_contrast` times a factor in 0..1 (1 where the image has a
            single class).

        Raises:
            OvssError: As in `wins`.
        """
        return np.asarray(self.scores(pixels, masks, labels, [self.options])[0])

    def scores(
        self,
        pixels: Tensor,
        masks: np.ndarray | Tensor,
        labels: Sequence[int],
        variants: Sequence[RewardOptions],
    ) -> np.ndarray:
        """Each candidate's reward by several options that show CLIP the same images.

        Args:
            pixels: As in `wins`.
            masks: As in `wins`.
            labels: As in `wins`.
            variants: V options; their `RewardOptions.sight` is that of this reward.

        Returns:
            (V, C) float64, rows as in `score`.

        Raises:
            OvssError: As in `wins`, or a variant needs other images.
        """
        for one in variants:
            if one.sight != self.options.sight:
                raise OvssError(f"a reward that shows {self.options.sight} cannot give {one}")
        checked = self._checked(pixels, masks, labels)
        inside = self._wins(pixels, checked, labels, {one.scope for one in variants})
        both = {one.scope for one in variants if one.outside == "penalised"}
        outside = self._wins(pixels, 1 - checked, labels, both) if both else {}
        contrast = token_contrast(checked) if any(v.token_contrast for v in variants) else None
        found = np.stack([inside[one.scope].sum(1) for one in variants]).astype(np.float64)
        for number, one in enumerate(variants):
            if one.outside == "penalised":
                found[number] -= outside[one.scope].sum(1)
            if one.token_contrast and contrast is not None:
                found[number] *= contrast
        return found

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
        found = given.to(torch.float32)
        # Written so that NaN fails too.
        if found.numel() and not (found.min() >= 0 and found.max() <= 1):
            raise OvssError("the reward's masks must lie between 0 and 1")
        return (found >= 0.5).float() if self.options.mask == "hard" else found

    @torch.inference_mode()
    def _wins(
        self, pixels: Tensor, masks: Tensor, labels: Sequence[int], scopes: Collection[str]
    ) -> dict[str, np.ndarray]:
        """As `wins`, of checked masks, for each scope."""
        count, k = masks.shape[:2]
        if not masks.numel():
            return {scope: np.zeros((count, k), bool) for scope in scopes}
        distinct, place = _distinct(masks.flatten(0, 1))
        place = place.view(count, k)
        logits = self._looks(pixels, distinct, self._quick)
        margins = self._margins(logits, place, labels, scopes)
        if self._quick is not self._tower:
            # A single class has probability 1 among its own: there is no doubt about it.
            asked = [m for scope, m in margins.items() if k > 1 or scope != "image"]
            doubts = [place[unsure(one, self._scale)] for one in asked]
            again = torch.cat([*doubts, place[:0, 0]]).unique()
            logits[again] = self._looks(pixels, distinct[again], self._tower)
            margins = self._margins(logits, place, labels, scopes)
        return {scope: np.asarray((one > 0).numpy()) for scope, one in margins.items()}

    def _margins(
        self, logits: Tensor, place: Tensor, labels: Sequence[int], scopes: Collection[str]
    ) -> dict[str, Tensor]:
        """Scope -> log Pr(mask * image, k) - log Pr(contrast, k), (C, K).

        `logits` are (U, n), of the images seen; `place` (C, K) says which are a candidate's.
        """
        asked = torch.as_tensor([label - 1 for label in labels])
        found = {}
        for scope in scopes:
            rivals = asked if scope == "image" else slice(None)
            # Logarithms of probabilities tell apart what would both round to 1.
            seen, beat = (
                one[:, asked] - one[:, rivals].logsumexp(1, keepdim=True)
                for one in (logits, self._to_beat)
            )
            found[scope] = (seen - beat)[place, torch.arange(len(labels))]
        return found

    def _looks(self, pixels: Tensor, masks: Tensor, tower: Tower) -> Tensor:
        """Logits (U, n) of an image under U masks (U, S, S), batch by batch."""
        picture = pixels.to(self.device, torch.float32)
        parts = []
        for part in masks.split(self.batch):
            # `lerp` gives either end exactly.
            mixed = torch.lerp(self._contrast, picture, part.to(self.device).unsqueeze(1))
            shows = (mixed != self._contrast).flatten(1).any(1)
            logits = self._to_beat.repeat(len(part), 1)
            # The contrast image again would tie, but for rounding: it is not looked at twice.
            if shows.any():
                logits[shows.cpu()] = self._similarities(mixed[shows], tower)
            parts.append(logits)
        return torch.cat(parts) if parts else self._to_beat[:0]

    def _similarities(self, pictures: Tensor, tower: Tower) -> Tensor:
        """Equation 5's f: (N, n) float64 cosines of images (N, 3, S, S), scaled by CLIP."""
        features = F.normalize(tower(pictures).float(), dim=-1).double()
        logits: Tensor = self._scale * (features @ self._texts.T)
        return logits.cpu()


def token_contrast(masks: Tensor) -> np.ndarray:
    """How different the masks of an image's classes are.

    Args:
        masks: (C, K, S, S) float32 in 0..1.

    Returns:
        (C,) float64 in 0..1: 1 - the mean over pairs of classes of their masks' cosine similarity;
        1 where there is no pair. An empty mask is like no other.

    Example:
        >>> one, other = torch.eye(2), 1 - torch.eye(2)
        >>> token_contrast(torch.stack([torch.stack([one, one]), torch.stack([one, other])]))
        array([0., 1.])
    """
    count, k = masks.shape[:2]
    if k < 2 or not count:
        return np.ones(count)
    # One candidate at a time: all of them in float64 would be large.
    products = torch.stack([flat @ flat.T for flat in (one.flatten(1).double() for one in masks)])
    squares = products.diagonal(dim1=1, dim2=2)
    lengths = (squares.unsqueeze(2) * squares.unsqueeze(1)).sqrt()
    cosines = products / lengths.clamp_min(torch.finfo(torch.float64).tiny)
    first, second = torch.triu_indices(k, k, offset=1)
    mean = cosines[:, first, second].mean(1)
    return np.asarray((1 - mean).clamp(0, 1).numpy(force=True))


def _distinct(masks: Tensor) -> tuple[Tensor, Tensor]:
    """The different ones (U, S, S) among N masks (N, S, S), and which of them each is, (N,)."""
    seen: dict[bytes, int] = {}
    firsts: list[int] = []
    places: list[int] = []
    for number, mask in enumerate(masks.numpy(force=True)):
        key = hashlib.blake2b(np.ascontiguousarray(mask).data, digest_size=16).digest()
        if key not in seen:
            seen[key] = len(firsts)
            firsts.append(number)
        places.append(seen[key])
    return masks[firsts], torch.as_tensor(places)
