"""From planes of scores to labels by a protocol's rules: softmax, thresholds, constant background.

The rules are SCLIP's and TCL's. They are for methods that give a score per name: `"similarity"`
(cosines of image and text features: SCLIP's family) or `"probability"` (values in 0..1: TCL). A
method says so by its attribute `planes_are`. PnP-OVSS gives neither: its planes are stretched to
0..1 whether or not a class is there, and it has its own background plane (`PnPConfig.background`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.pnp.refine import softmax

if TYPE_CHECKING:
    from ovsslib.protocols.protocol import Protocol

LOGITS, PROBABILITIES = "similarity", "probability"


@dataclass(frozen=True)
class Rules:
    """How planes are decided; fields as in `Protocol`, None for no such rule."""

    logit_scale: float | None = None
    prob_thd: float | None = None
    area_thd: float | None = None
    background_plane: float | None = None

    @classmethod
    def of(cls, protocol: Protocol, *, background: bool) -> Rules:
        """A resolved protocol's rules; without the constant plane where background is no class."""
        return cls(
            logit_scale=protocol.logit_scale,
            prob_thd=protocol.prob_thd,
            area_thd=protocol.area_thd,
            background_plane=protocol.background_plane if background else None,
        )


def settle(
    planes: np.ndarray, groups: Sequence[int], rules: Rules, kind: str = LOGITS
) -> tuple[np.ndarray, np.ndarray]:
    """Decide which name a pixel has.

    In this order: `logit_scale` and a softmax over the names (similarities only); names of a
    group whose share of the pixels that are not background is not above `area_thd` become 0
    (SCLIP); the highest plane wins, the first of equals; pixels whose highest value is below
    `prob_thd` become background, and those where it is not above `background_plane`.

    Args:
        planes: (K, H, W) scores; not changed.
        groups: Of each name, which class it is a name of; 0 for background.
        rules: See `Rules`.
        kind: `"similarity"` or `"probability"`.

    Returns:
        (H, W) int16 index into the names, -1 for background that has no name; and the planes
        (K, H, W) float32 that were compared.

    Raises:
        OvssError: The kind is unknown, or the numbers of planes and groups differ.

    Example:
        >>> planes = np.float32([[[0.2, 0.9]], [[0.3, 0.1]]])
        >>> settle(planes, [1, 2], Rules(background_plane=0.5), "probability")[0].tolist()
        [[-1, 0]]
    """
    if kind not in (LOGITS, PROBABILITIES):
        raise OvssError(f"planes are {LOGITS!r} or {PROBABILITIES!r}, not {kind!r}")
    if len(planes) != len(groups):
        raise OvssError(f"{len(planes)} planes but {len(groups)} names")
    values = planes.astype(np.float32)
    if not len(values):
        return np.full(values.shape[1:], -1, np.int16), values
    if kind == LOGITS:
        values = softmax(values * np.float32(rules.logit_scale or 1.0))
    if rules.area_thd is not None:
        values = np.where(_small(values, groups, rules.area_thd)[:, None, None], 0, values)
    best = values.argmax(0)
    peak = values.max(0)
    bare = np.zeros(peak.shape, bool)
    if rules.prob_thd is not None:
        bare |= peak < rules.prob_thd
    if rules.background_plane is not None:
        bare |= peak <= rules.background_plane
    return np.where(bare, -1, best).astype(np.int16), values


def _small(values: np.ndarray, groups: Sequence[int], share: float) -> np.ndarray:
    """(K,) bool: names of groups, background aside, with no more than a share of the pixels."""
    known, place = np.unique(np.asarray(groups), return_inverse=True)
    area = np.bincount(place[values.argmax(0)].ravel(), minlength=len(known))
    area[known == 0] = 0
    small = (area <= share * area.sum()) & (known != 0)
    return small[place]
