"""CLIP Surgery (Li et al. 2023, arXiv 2304.05653; Pattern Recognition 2025).

Architecture: beside the last layers goes a second path in which values attend to values; it has the
residual connection and no feed-forward networks. Features: what a patch has in common with all
names is taken away from its similarity to each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovsslib.lookup import Count
from ovsslib.peers.dense import DenseClip, DenseConfig, builder
from ovsslib.peers.layers import second_path
from ovsslib.peers.tower import alike

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClipSurgeryConfig(DenseConfig):
    """Settings of CLIP Surgery, besides those of every dense method.

    Attributes:
        layers: How many of the last layers have the second path; None for the authors' 6, or half
            of the layers where there are fewer than 12.
        feature_surgery: Whether what names have in common is taken away, see `distinct`.
    """

    layers: Count | None = None
    feature_surgery: bool = True


class ClipSurgery(DenseClip):
    """CLIP Surgery with one CLIP."""

    name = "clip-surgery"
    settings = ClipSurgeryConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        tower = self.matcher
        path = second_path(
            tower, pixels, self.config.layers, lambda _, qkv: alike(qkv[2], qkv[2]) @ qkv[2]
        )
        return tower.parts.project(path)[:, 1:]

    def scores(self, features: Tensor, texts: Tensor, side: int) -> Tensor:
        """Scores (K, h, w) of one image, see `DenseClip.scores`.

        A single name has nothing in common with others; the authors then take away the similarity
        to the text without a name.
        """
        if not self.config.feature_surgery:
            return super().scores(features, texts, side)
        if len(texts) == 1:
            return super().scores(
                features, texts - self.matcher.texts([""], self.sentences()), side
            )
        return distinct(features, texts).mT.unflatten(1, (side, -1))


def distinct(features: Tensor, texts: Tensor) -> Tensor:
    """Similarity without what all names share (feature surgery).

    With f a patch's features and t_k a name's, the element-wise product f * t_k, weighted by
    w_k = softmax(2 f . t)_k / mean over names of softmax(2 f . t), says where the two are alike;
    its mean over names is redundant. The elements of w_k f * t_k minus that mean are summed up. As
    the mean is the same for all names, it does not decide which name is nearest to a patch: it
    matters where scores of different pixels are compared, or fall below a threshold.

    Args:
        features: (P, E) unit vectors of patches. (The authors' demonstration scales over patches
            where the paper scales each patch to length 1.)
        texts: (K, E) the same of names.

    Returns:
        (P, K); every patch's sum is 0.
    """
    # The sum over elements comes first here: what remains of the products are the cosines.
    cosines = features @ texts.mT
    probabilities = (2 * cosines).softmax(-1)
    weighted = probabilities / probabilities.mean(-1, keepdim=True) * cosines
    return weighted - weighted.mean(-1, keepdim=True)


build = builder(ClipSurgery)
