"""The reward of candidates for layer, head, threshold and blur, from stored maps.

Letters: B images, C candidates, K classes, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.tuning.candidates import Candidate, masks_of

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.tuning.collect import LayerMaps
    from ovsslib.tuning.reward import Reward

_MASK_BYTES = 32 << 20
"""Masks of so many candidates are in memory together."""
_CACHE_BYTES = 1 << 30
"""Most bytes of prepared images that are kept."""


class Objective:
    """The reward of candidates over stored maps.

    Args:
        store: Maps of all layers and heads.
        reward: Scores masks.
        dataset: Where the images are.
        config: The settings that candidates do not change.
    """

    def __init__(
        self, store: LayerMaps, reward: Reward, dataset: Dataset, config: PnPConfig
    ) -> None:
        self.store, self.reward, self.dataset, self.config = store, reward, dataset, config
        self._pixels: dict[int, Tensor] = {}
        self._free = _CACHE_BYTES

    def labels(self, image: int) -> list[int]:
        """An image's classes, each once, without the background."""
        return [label for label in dict.fromkeys(self.store.labels[image]) if label > 0]

    @property
    def pairs(self) -> list[int]:
        """How many classes each image is rewarded for: pairs of image and class."""
        return [len(self.labels(image)) for image in range(len(self.store))]

    def values(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Rewards for each class of the images: the share of those that win.

        Args:
            candidates: C of them.

        Returns:
            (C,) float64 in 0..1.

        Raises:
            OvssError: As `per_image`, or no image has a class.
        """
        count = sum(self.pairs)
        if not count:
            raise OvssError("no image has a class to be rewarded for; choose others")
        total: np.ndarray = self.per_image(candidates).sum(axis=1)
        return total / count

    def per_image(
        self, candidates: Sequence[Candidate], images: Sequence[int] | None = None
    ) -> np.ndarray:
        """Rewards of candidates for images.

        Args:
            candidates: C of them.
            images: Indices into the store; None for all.

        Returns:
            (C, B) float64.

        Raises:
            OvssError: An image, layer or head does not exist, or an image cannot be read.
        """
        chosen = list(range(len(self.store)) if images is None else images)
        rewards = np.zeros((len(candidates), len(chosen)))
        for column, image in enumerate(chosen):
            rewards[:, column] = self.by_scope(candidates, image, [self.reward.options.scope])[0]
        return rewards

    def by_scope(
        self, candidates: Sequence[Candidate], image: int, scopes: Sequence[str]
    ) -> np.ndarray:
        """Rewards of candidates for one image, for several values of the option `scope`.

        Args:
            candidates: C of them.
            image: Index into the store.
            scopes: See `ovsslib.tuning.reward.RewardOptions`; they share CLIP's passes.

        Returns:
            (scopes, C) float64, 0 to the number of the image's classes.

        Raises:
            OvssError: As `per_image`.
        """
        rewards, labels = np.zeros((len(scopes), len(candidates))), self.labels(image)
        if not labels:
            return rewards
        # Candidates of one layer and head are made together.
        order = sorted(
            range(len(candidates)),
            key=lambda row: (candidates[row].layer, candidates[row].head or 0),
        )
        pixels, names = self.prepared(image), len(self.store.labels[image])
        together = max(1, _MASK_BYTES // (4 * names * self.reward.size**2))
        for start in range(0, len(order), together):
            rows = order[start : start + together]
            masks = torch.cat(list(self._masks(image, [candidates[row] for row in rows])))
            wins = self.reward.wins_by_scope(pixels, masks, labels, scopes)
            rewards[:, rows] = wins.sum(2)
        return rewards

    def _masks(self, image: int, candidates: Sequence[Candidate]) -> Iterator[Tensor]:
        """Masks (C, K, S, S) in the candidates' order, those of one layer and head at a time."""
        groups: dict[tuple[int, int | None], list[Candidate]] = {}
        for candidate in candidates:
            groups.setdefault((candidate.layer, candidate.head), []).append(candidate)
        config, size, hard = self.config, self.reward.size, self.reward.options.mask == "hard"
        for (layer, head), group in groups.items():
            maps = self.store.maps(image, layer, head)
            planes = masks_of(maps, group, size, config.background, config, hard=hard)
            yield _merge(planes, self.store.labels[image])

    def prepared(self, image: int) -> Tensor:
        """The image as CLIP takes it, (3, S, S); the first 1 GiB of them are kept."""
        if image in self._pixels:
            return self._pixels[image]
        pixels = self.reward.prepare(self.dataset.image(self.store.ids[image]))
        # Images are asked for in turn: to make room would throw away the one that is needed next.
        if pixels.nbytes <= self._free:
            self._pixels[image] = pixels
            self._free -= pixels.nbytes
        return pixels


def _merge(planes: Tensor, labels: Sequence[int]) -> Tensor:
    """Planes (C, K, S, S) of names to those of classes: one for each label, none for 0."""
    planes_of: dict[int, list[int]] = {}
    for plane, label in enumerate(labels):
        planes_of.setdefault(label, []).append(plane)
    if 0 not in planes_of and len(planes_of) == len(labels):
        return planes
    merged = [planes[:, same].amax(1) for label, same in planes_of.items() if label > 0]
    return torch.stack(merged, dim=1)
