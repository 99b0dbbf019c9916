"""ResCLIP (Yang et al. 2025, CVPR) on top of NACLIP: two corrections of the last layer's attention.

Residual cross-correlation self-attention: attention is mixed with the mean of that which middle
layers were trained with. Semantic feedback refinement: the scores of a first pass say which patches
belong together, and the second pass mixes that into the products of keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ovsslib.lookup import Positive, Share
from ovsslib.peers.dense import builder
from ovsslib.peers.layers import Layers, enter_with_attention, middle
from ovsslib.peers.naclip import NaClip, NaClipConfig, neighbours
from ovsslib.peers.tower import alike
from ovsslib.pnp.pamr import pamr

if TYPE_CHECKING:
    from torch import Tensor

LAYERS = (6, 7, 8, 9)
"""The authors' middle layers of ViT-B/16."""


@dataclass(frozen=True)
class ResClipConfig(NaClipConfig):
    """Settings of ResCLIP, besides NACLIP's.

    The authors set numbers for each data set; the defaults are those for COCO-Object and
    COCO-Stuff.

    Attributes:
        layers: Middle layers whose attention is used, the first is 1; None for the authors' 6 to 9
            of 12, in other encoders those at the same share of the depth (of 24 layers the 12th,
            14th, 16th and 18th).
        residual_factor: What attention, mixed with that of middle layers, is multiplied with.
        residual_share: Weight of the middle layers. The authors have 0.3 to 0.6.
        feedback: Whether there is a second pass.
        feedback_factor: What products of keys, mixed with the feedback, are multiplied with. The
            authors have 1.8 to 2.2.
        feedback_share: Weight of the feedback. The authors have 0.6 and 0.7.
        scale: What cosines of the first pass are multiplied with before a softmax over names.
        threshold: Pixels whose highest probability is below it count as the first name, which is
            background where the authors have one. They have 0.1 to 0.5.
    """

    layers: Layers | None = None
    residual_factor: Positive = 2.0
    residual_share: Share = 0.4
    feedback: bool = True
    feedback_factor: Positive = 1.8
    feedback_share: Share = 0.7
    scale: Positive = 40.0
    threshold: Share = 0.11


class ResClip(NaClip):
    """ResCLIP with one CLIP."""

    name = "resclip"
    settings = ResClipConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S) after the first pass."""
        return self._pass(pixels, *self._early(pixels))

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, h, w) of images (B, 3, S, S), see `DenseClip.planes`."""
        tokens, early = self._early(pixels)
        coarse = self.compare(self._pass(pixels, tokens, early), texts)
        if not self.config.feedback:
            return coarse
        both = zip(coarse, self.matcher.colours(pixels), strict=True)
        found = torch.stack([together(self._labels(*each), self.config.sigma) for each in both])
        return self.compare(self._pass(pixels, tokens, early, found[:, None]), texts)

    def _early(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What enters the last layer (B, N, D), and the middle layers' attention (B, A, N, N)."""
        chosen = middle(self.config.layers, LAYERS, self.matcher.layers)
        return enter_with_attention(self.matcher, pixels, chosen, alike)

    def _pass(
        self, pixels: Tensor, tokens: Tensor, early: Tensor, feedback: Tensor | None = None
    ) -> Tensor:
        """Features (B, P, E) by the last layer, from feedback (B, 1, N, N) if there is some."""
        parts, config = self.matcher.parts, self.config
        last = parts.blocks[-1]
        _, k, v = last.qkv(last.norm(tokens))
        products = k @ k.mT * k.shape[-1] ** -0.5
        if feedback is not None:
            mixed = torch.lerp(products, feedback.to(k).expand_as(products), config.feedback_share)
            products = config.feedback_factor * mixed
        near = neighbours(pixels.shape[-1] // parts.patch, config.sigma).to(k)
        attention = torch.lerp((products + near).softmax(-1), early, config.residual_share)
        return parts.project(last.out(config.residual_factor * attention @ v))[:, 1:]

    def _labels(self, coarse: Tensor, image: Tensor) -> Tensor:
        """Which name each patch has, (h, w), from scores (K, h, w) and the image (3, S, S)."""
        config, patch = self.config, self.matcher.parts.patch
        fine = F.interpolate(coarse[None], image.shape[1:], mode="bilinear", align_corners=False)
        chances = (config.scale * pamr(fine[0], image)).softmax(0)
        peak, label = chances.max(0)
        label = label.where(peak >= config.threshold, 0)
        # Of names that are equally frequent in a patch, the first one.
        return label.unfold(0, patch, patch).unfold(1, patch, patch).flatten(2).mode(-1).values


def together(labels: Tensor, sigma: float) -> Tensor:
    """How much patches belong together: ResCLIP's semantic feedback.

    Two patches of one label have 1, others 0. If the straight line from one to the other leaves the
    label (see `connected`), the 1 decays to exp(-steps / most steps), where steps are the Chebyshev
    distance. Rows are then smoothed by a Gaussian, as in the authors' code along the patches in
    reading order, and divided by their sums, and all by the largest element.

    Args:
        labels: (h, w) whole numbers.
        sigma: Standard deviation of the Gaussian in patches.

    Returns:
        (1 + P, 1 + P) in 0..1; 0 to and from the class token.
    """
    flat, places = labels.flatten(), _places(labels)
    steps = (places - places[:, None]).abs().amax(-1)
    decay = (-steps / steps.max().clamp(min=1)).exp()
    rows = (flat[:, None] == flat) * torch.where(connected(labels), 1.0, decay)
    size = min(len(flat), int(6 * sigma + 1)) // 2
    offsets = torch.arange(-size, size + 1, device=labels.device)
    kernel = (-(offsets**2) / (2 * sigma**2)).exp()
    smooth = F.conv1d(rows[:, None], kernel[None, None] / kernel.sum(), padding=size)[:, 0]
    shares = smooth / smooth.sum(-1, keepdim=True)
    return F.pad(shares / shares.max(), (1, 0, 1, 0))


def connected(labels: Tensor) -> Tensor:
    """Whether the straight line between two patches stays in the label of the first.

    The line is looked at in as many steps as the Chebyshev distance has. (The authors' code looks
    at its beginning only, unless the two are as far apart as can be.)

    Args:
        labels: (h, w) whole numbers.

    Returns:
        (P, P) bool.

    Example:
        >>> connected(torch.tensor([[1, 2, 1]]))[0].tolist()
        [True, False, False]
    """
    places = _places(labels)
    start = places[:, None]
    way = places - start
    length = way.abs().amax(-1, keepdim=True)
    own = labels.flatten()[:, None]
    inside = torch.ones_like(length[..., 0], dtype=torch.bool)
    for step in range(1, max(labels.shape)):
        # Whole numbers up to the division, so that halves are exact and both directions agree.
        gone = way * length.clamp(max=step) / length.clamp(min=1)
        row, column = (start + gone).round().long().unbind(-1)
        inside &= labels[row, column] == own
    return inside


def _places(labels: Tensor) -> Tensor:
    """Row and column (P, 2) of each patch, from labels (h, w)."""
    rows, columns = (torch.arange(size, device=labels.device) for size in labels.shape)
    return torch.cartesian_prod(rows, columns)


build = builder(ResClip)
