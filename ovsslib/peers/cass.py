"""CASS (Kim et al. 2025, CVPR): DINO's graphs of patches are mixed into CLIP's, head by head.

In CLIP's last layer keys attend to keys, with a Gaussian of the distance as in NACLIP. Before, each
head's graph A = k k^T / sqrt(d) is mixed with a graph that DINO's keys make:

1. Each graph's largest eigenvalues, divided by their sum, are its spectrum; the distance of two
   spectra is the sum of absolute differences. Heads of CLIP and DINO are matched one to one so that
   distances are as large as possible in sum: a head gets the graph that it lacks.
2. Of DINO's graph as few eigenvalues are kept as hold the share `energy` of their sum; they are
   stretched so that the largest becomes 1.5 times itself and the smallest half of itself.
3. With its diagonal 0 and its range brought to that of CLIP's graph, it is averaged with it, at
   `weight` times the distance to 1.

Then texts: names that are alike are grouped (Ward's linkage of cosine distances); of each group the
name that fits the class token best moves towards its two best patches. The class token's cosines
are mixed into those of the patches.

What is reconstructed, from the authors' code where it can be read in two ways: (a) a matched pair's
graphs and distance belong together here, the code reads one of them transposed; (b) the code means
to keep the share `energy`, but always keeps ten eigenvalues; (c) the constants are those for Pascal
VOC with background, they differ from data set to data set there; (d) the class token is that of
the image or window given, the code takes the whole image's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError
from ovsslib.lookup import Amount, Count, Positive, Share
from ovsslib.peers.dino import on_grid
from ovsslib.peers.dino_clip import DinoClip, DinoConfig, dino_builder
from ovsslib.peers.naclip import neighbours

if TYPE_CHECKING:
    from torch import Tensor

TIES = 4
"""Digits of distances when heads are matched, see `mixed`."""


@dataclass(frozen=True)
class CassConfig(DinoConfig):
    """Settings of CASS, besides those of every method with a DINO.

    Attributes:
        eigenvalues: That a spectrum has.
        energy: Share of their sum that the kept ones hold.
        weight: Of DINO's graph, times the distance of the spectra.
        sigma: Standard deviation of the Gaussian in patches.
        cut: Distance at which groups of names are cut.
        shift: How far a name moves towards its patches.
        presence: Share of the class token's cosines in the scores.
    """

    eigenvalues: Count = 20
    energy: Share = 0.95
    weight: Amount = 10.0
    sigma: Positive = 5.0
    cut: Amount = 0.1
    shift: Share = 0.03
    presence: Share = 0.1


class Cass(DinoClip):
    """CASS with one CLIP and one DINO, which have as many heads."""

    name = "cass"
    settings = CassConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        return self._tokens(pixels)[:, 1:]

    def _tokens(self, pixels: Tensor) -> Tensor:
        """Features (B, 1 + P, E), CLIP's own of the class token first."""
        tower, config = self.matcher, self.config
        last, tokens = tower.parts.blocks[-1], tower.enter(pixels)
        _, keys, values = last.qkv(last.norm(tokens))[..., 1:, :]
        side = pixels.shape[-1] // tower.parts.patch
        others = on_grid(self.dino_features(pixels).keys, side)
        if others.shape[1] != keys.shape[1]:
            raise OvssError(
                f"cass matches heads one to one, but {tower.name} has {keys.shape[1]} and "
                f"{self.dino.name} {others.shape[1]}; give a DINO of CLIP's size"
            )
        graphs = torch.stack(
            [mixed(*pair, config) for pair in zip(keys.double(), others.double(), strict=True)]
        )
        near = neighbours(side, config.sigma)[1:, 1:].to(graphs)
        attention = (graphs + near).softmax(-1).to(values)
        whole = tower.parts.project(last.whole(tokens))[:, :1]
        return torch.cat([whole, tower.parts.project(last.out(attention @ values))], dim=1)

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, h, w) of each image; else see `DenseClip.planes`."""
        units = F.normalize(self._tokens(pixels).float(), dim=-1)
        side = round((units.shape[1] - 1) ** 0.5)
        found = []
        for own, named in zip(units, texts, strict=True):
            present = named @ own[0]
            moved = present_texts(named, present, own[1:], self.config)
            share = self.config.presence
            scores = (1 - share) * moved @ own[1:].mT + share * present[:, None]
            found.append(scores.unflatten(1, (side, side)))
        return found


def mixed(keys: Tensor, others: Tensor, config: CassConfig) -> Tensor:
    """CLIP's graphs of an image with DINO's in them.

    Args:
        keys: (A, P, d) of CLIP.
        others: (A, P, d') of DINO, in any order of heads.
        config: For the numbers.

    Returns:
        (A, P, P), in the order of CLIP's heads.
    """
    from scipy.optimize import linear_sum_assignment

    others = stretched(others, keys)
    scale = keys.shape[-1] ** -0.5
    # The graph's eigenvalues are the scaled squares of the keys' singular values.
    vectors, singular, _ = torch.linalg.svd(others, full_matrices=False)
    theirs, own = scale * singular.square(), scale * torch.linalg.svdvals(keys).square()
    spectra = [_spectrum(values, config.eigenvalues) for values in (own, theirs)]
    distances = (spectra[0][:, None] - spectra[1]).abs().sum(-1)
    # Several matchings are often equally good; unrounded, the processor would choose among them.
    rounded = distances.cpu().numpy().round(TIES)
    heads, partners = linear_sum_assignment(rounded, maximize=True)
    graphs = []
    for head, partner in zip(heads, partners, strict=True):
        graph = scale * keys[head] @ keys[head].mT
        values = _scaled(theirs[partner], config.energy)
        basis = vectors[partner][:, : len(values)]
        lowered = (basis * values) @ basis.mT
        lowered.fill_diagonal_(0)
        weight = config.weight * distances[head, partner]
        graphs.append((graph + weight * stretched(lowered, graph)) / (1 + weight))
    return torch.stack(graphs)


def stretched(values: Tensor, others: Tensor) -> Tensor:
    """Values brought linearly to the range of others; the least of it where all are equal."""
    low, high = others.amin(), others.amax()
    span = (values.amax() - values.amin()).clamp(min=torch.finfo(values.dtype).tiny)
    return low + (values - values.amin()) / span * (high - low)


def _spectrum(eigenvalues: Tensor, count: int) -> Tensor:
    """The largest eigenvalues (A, `count`), in descending order, summing to 1 a head."""
    largest = eigenvalues[:, :count]
    shares = largest / largest.sum(-1, keepdim=True)
    return F.pad(shares, (0, count - shares.shape[-1]))


def _scaled(eigenvalues: Tensor, energy: float) -> Tensor:
    """The eigenvalues that are kept, stretched; (Q,) of (d,) in descending order."""
    shares = eigenvalues.cumsum(0) / eigenvalues.sum()
    kept = eigenvalues[: int((shares < energy).sum()) + 1]
    high, low = kept[0], kept[-1]
    if high == low:
        return kept
    return (kept - low) / (high - low) * (1.5 * high - 0.5 * low) + 0.5 * low


def present_texts(texts: Tensor, present: Tensor, patches: Tensor, config: CassConfig) -> Tensor:
    """Names' features, moved towards patches where the image seems to show them.

    Args:
        texts: (K, E) unit vectors.
        present: (K,) cosines with the class token.
        patches: (P, E) unit vectors.
        config: For the numbers.

    Returns:
        (K, E) unit vectors.
    """
    moved = texts.clone()
    for group in groups(texts.cpu().numpy(), config.cut):
        best = int(group[int(present[group].argmax())])
        likest = (patches @ texts[best]).topk(min(2, len(patches))).indices
        towards = F.normalize(patches[likest].mean(0), dim=0)
        step = (1 - config.shift) * texts[best] + config.shift * towards
        moved[best] = F.normalize(step, dim=0)
    return moved


def groups(texts: np.ndarray, cut: float) -> list[np.ndarray]:
    """Names that are alike, by Ward's linkage of cosine distances.

    Args:
        texts: (K, E) unit vectors, K > 0.
        cut: Largest distance within a group.

    Returns:
        Numbers of names, an array a group; each in one of them.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(texts) == 1:
        return [np.zeros(1, np.int64)]
    first, second = np.triu_indices(len(texts), 1)
    distances = np.maximum(1 - (texts @ texts.T)[first, second], 0)
    labels = fcluster(linkage(distances, method="ward"), t=cut, criterion="distance")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


build = dino_builder(Cass)
