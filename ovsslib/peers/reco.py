"""ReCo (Shin et al. 2022, NeurIPS): retrieve images of a name, and co-segment them.

For each name, CLIP retrieves the k images of an unlabelled archive that are most like it. What
these have in common gives the name one reference vector r (`cosegment`); patches whose CLIP feature
does not fit the name, or whose look fits a context class such as the sky, count less. The score of
a patch with look f and CLIP feature d, for a name with text feature t, is

    sigmoid(f . r) sigmoid(s d . t)

where s is 10. Looks and features are unit vectors.

What differs from the paper and its code:

- Looks are the tokens that enter the last layer of the one CLIP, in place of a DeiT's (of which the
  published system takes one that was trained with labels); the same CLIP retrieves and gives
  patches their features, which are MaskCLIP's, where the code has a CLIP for each.
- Images are squashed to a square, not cropped.
- The two factors are multiplied on the grid of patches, and the product brought to the image's
  size; the code brings each there first.
- The archive is Diorama's train split or a folder, not ImageNet. No dense CRF follows; there is
  PAMR (`DenseConfig.pamr`).
- Cityscapes' "vegetation" does not share the reference of "tree".

Letters: k images, P patches, D width of a look, E width of the space that images and texts share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ovsslib.lookup import Count, Positive
from ovsslib.peers.archive import BATCH, Archive, diorama_images, open_archive
from ovsslib.peers.dense import builder
from ovsslib.peers.maskclip import MaskClip, MaskClipConfig
from ovsslib.protocols.adapter import PROBABILITIES

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.peers.tower import Tower


@dataclass(frozen=True)
class ReCoConfig(MaskClipConfig):
    """Settings of ReCo, besides those of MaskCLIP.

    Attributes:
        archive: A folder with images; None for images of Diorama's train split.
        drawn: How many of those.
        retrieved: Images k that are retrieved for a name.
        contexts: Names whose looks count less in what is common to a name's images, each less in
            those that follow; empty for none. A name that is one of them has the reference that it
            has as a context.
        sharpness: What cosines of patches and names are multiplied with before the sigmoid, s.
    """

    archive: str | None = None
    drawn: Count = 1000
    retrieved: Count = 50
    contexts: tuple[str, ...] = ("tree", "sky", "building", "road", "person")
    sharpness: Positive = 10.0

    def __post_init__(self) -> None:
        """Check types and ranges."""
        super().__post_init__()
        object.__setattr__(self, "contexts", tuple(self.contexts))


class ReCo(MaskClip):
    """ReCo with one CLIP; planes are in 0..1.

    The archive is opened for the first image, and each name's reference is kept.

    Args:
        tower: The CLIP.
        config: None for the defaults.
    """

    name = "reco"
    settings = ReCoConfig
    planes_are = PROBABILITIES

    def __init__(self, tower: Tower, config: Any = None) -> None:
        super().__init__(tower, config)
        # Shared with copies for protocols, which have other sentences and so other texts.
        self._archives: list[Archive] = []
        self._references: dict[bytes, Tensor] = {}

    @property
    def archive(self) -> Archive:
        """The images; raises `OvssError` as `open_archive` and `diorama_images`."""
        if not self._archives:
            named = self.config.archive
            folder = diorama_images(self.config.drawn) if named is None else Path(named)
            self._archives.append(open_archive(folder, self.matcher))
        return self._archives[0]

    def looks(self, pixels: Tensor) -> Tensor:
        """Unit vectors (B, P, D) by which patches of images (B, 3, S, S) are compared."""
        return F.normalize(self.matcher.enter(pixels)[:, 1:].float(), dim=-1)

    def fits(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """How well each patch fits names by CLIP alone, sigmoid(s d . t).

        Args:
            pixels: (B, 3, S, S).
            texts: For each image unit vectors (K, E) of names.

        Returns:
            For each image (K, P).
        """
        units = F.normalize(self.features(pixels).float(), dim=-1)
        factor = self.config.sharpness
        return [
            (factor * named @ own.mT).sigmoid() for own, named in zip(units, texts, strict=True)
        ]

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, h, w) of images; see `DenseClip.planes`."""
        looks, fits = self.looks(pixels), self.fits(pixels, texts)
        side = math.isqrt(looks.shape[1])
        return [
            ((self.references(named) @ look.mT).sigmoid() * fit).unflatten(1, (side, side))
            for look, fit, named in zip(looks, fits, texts, strict=True)
        ]

    def references(self, texts: Tensor) -> Tensor:
        """The reference vectors (K, D) of names, given their unit vectors (K, E)."""
        contexts: list[Tensor] = []
        if self.config.contexts:
            for text in self.matcher.texts(self.config.contexts, self.sentences()):
                contexts.append(self._reference(text, contexts))
        return torch.stack([self._reference(text, contexts) for text in texts])

    def _reference(self, text: Tensor, contexts: Sequence[Tensor]) -> Tensor:
        """A name's reference vector (D,), given those of context classes."""
        key = text.cpu().numpy().tobytes()
        if key not in self._references:
            archive = self.archive
            names = archive.nearest(text, self.config.retrieved)
            looks, weights = [], []
            for start in range(0, len(names), BATCH):
                pixels = self.matcher.prepare(archive.images(names[start : start + BATCH]))
                looks.append(self.looks(pixels))
                weights += self.fits(pixels, [text[None]] * len(pixels))
            look, weight = torch.cat(looks), torch.cat(weights)
            for context in contexts:
                weight = weight * (1 - (look @ context).sigmoid())
            self._references[key] = cosegment(look, weight)
        return self._references[key]


def cosegment(looks: Tensor, weights: Tensor) -> Tensor:
    """The look that images have in common.

    A patch is supported by an image as much as by the patch of it that is most like it, likeness
    being the cosine times that patch's weight. The patch of each image with the highest mean
    support over all images (its own included) is its seed.

    Args:
        looks: (k, P, D) unit vectors.
        weights: (k, P) in 0..1.

    Returns:
        (D,), the normalised mean of the k seeds.

    Example:
        >>> common, one, two = torch.eye(3)
        >>> looks = torch.stack([torch.stack([one, common]), torch.stack([common, two])])
        >>> cosegment(looks, torch.ones(2, 2)).tolist()
        [1.0, 0.0, 0.0]
    """
    flat = looks.flatten(0, 1)
    seeds = []
    # By image: likenesses of all pairs of patches would be (k P)^2 numbers.
    for own in looks:
        likeness = own @ flat.mT * weights.flatten()
        support = likeness.unflatten(1, weights.shape).amax(2).mean(1)
        seeds.append(own[support.argmax()])
    return F.normalize(torch.stack(seeds).mean(0), dim=0)


build = builder(ReCo)
