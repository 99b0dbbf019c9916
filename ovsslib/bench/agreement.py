"""Whether two computations of the salience maps agree.

Letters: N rounds, K classes, P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ovsslib.bench.full_graph import Rounds
from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.result import Maps

TOLERANCE: dict[str, float] = {"float32": 1e-3, "bfloat16": 0.2, "float16": 0.05}
"""Number type of the model -> largest difference from float32, relative to the largest value (with
random weights, whose maps are noise)."""


@dataclass(frozen=True)
class Agreement:
    """How far two results are apart.

    A difference is the largest absolute one over the reference's largest value, in the worst image.
    Once an image has dropped other patches than the reference, its later rounds are not comparable,
    as the model saw another image; they are left out of `rounds` and `sums`.

    Attributes:
        agree: Whether every comparable figure is within the tolerance and patches were picked
            correctly.
        tolerance: See `TOLERANCE`.
        rounds: Difference of each round's maps, the first with nothing dropped; None where no
            image is comparable.
        sums: Difference of the summed maps; None where no image is comparable.
        other_patches: Images for which other patches were dropped.
        wrong_patches: Images for which patches were dropped that the reference's salience does
            not allow: more than the tolerance allows below those it drops.
    """

    agree: bool
    tolerance: float
    rounds: list[float | None]
    sums: float | None
    other_patches: int
    wrong_patches: int

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values; a difference that is no number is `"not finite"`."""
        rounds = [_plain(value) for value in self.rounds]
        return asdict(self) | {"rounds": rounds, "sums": _plain(self.sums)}


def compare(
    reference: Sequence[Rounds], ours: Sequence[Maps], count: int, tolerance: float
) -> Agreement:
    """Compare the pipeline's maps with those of another computation.

    Args:
        reference: One result per image.
        ours: The same images' maps, with their stages.
        count: Patches dropped after each round.
        tolerance: Largest allowed difference relative to the largest value.

    Raises:
        OvssError: The reference's maps are 0 everywhere: nothing could be compared.
    """
    rounds: list[list[float]] = [[] for _ in range(len(reference[0].maps))]
    sums: list[float] = []
    other = wrong = 0
    for theirs, mine in zip(reference, ours, strict=True):
        stages = mine.stages or {}
        maps = stages["rounds"].reshape(theirs.maps.shape)
        dropped = stages["dropped"].reshape(theirs.dropped.shape)
        same = [bool((a == b).all()) for a, b in zip(dropped, theirs.dropped, strict=True)]
        comparable = len(same) if all(same) else same.index(False)
        for number in range(comparable):
            rounds[number].append(_difference(maps[number], theirs.maps[number]))
        if all(same):
            total = mine.maps.reshape(maps.shape[1:])
            sums.append(_difference(total, theirs.maps.sum(axis=0)))
        else:
            other += 1
            # Only the round before the first difference is judged; later ones saw another image.
            chosen = dropped[comparable] & ~dropped[comparable - 1] if comparable else dropped[0]
            wrong += not comparable or not _near_tie(
                theirs, comparable - 1, chosen, count, tolerance
            )
    figures = [max(differences) if differences else None for differences in rounds]
    worst = max(sums) if sums else None
    checked = [value for value in (*figures, worst) if value is not None]
    # Written so that a NaN fails: it is not within the tolerance.
    agree = all(value <= tolerance for value in checked) and not wrong
    return Agreement(agree, tolerance, figures, worst, other, wrong)


def same_labels(
    reference: Sequence[Rounds], ours: Sequence[Maps], config: PnPConfig
) -> list[float]:
    """Share of the pixels of each image that refinement labels alike, in 0..1.

    Args:
        reference: One result per image.
        ours: The same images' maps.
        config: Settings of the refinement.
    """
    shares = []
    for theirs, mine in zip(reference, ours, strict=True):
        total = theirs.maps.sum(axis=0).reshape(mine.maps.shape)
        exact = refine_maps(Maps(total, mine.classes, mine.match, mine.image), config).labels
        shares.append(float((exact == refine_maps(mine, config).labels).mean()))
    return shares


def _plain(value: float | None) -> float | str | None:
    return value if value is None or np.isfinite(value) else "not finite"


def _difference(mine: np.ndarray, theirs: np.ndarray) -> float:
    top = float(np.abs(theirs).max())
    if top == 0:
        raise OvssError(
            "the maps are 0 everywhere, so that comparing them says nothing; choose another layer "
            "or head"
        )
    difference = float(np.abs(mine - theirs).max()) / top
    # max() would lose a NaN.
    return difference if np.isfinite(difference) else float("inf")


def _near_tie(
    theirs: Rounds, number: int, chosen: np.ndarray, count: int, tolerance: float
) -> bool:
    """Whether other patches were chosen only because their salience is almost the same."""
    salience = theirs.aggregate[number]
    expected = theirs.dropped[number + 1] & ~theirs.dropped[number]
    slack = 2 * tolerance * float(salience.max())
    # A round that is not full ran out of patches with salience: any others have none.
    floor = float(salience[expected].min()) if expected.sum() == count else 0.0
    high_enough = bool((salience[chosen] >= floor - slack).all())
    missing = salience[expected & ~chosen] if chosen.sum() < expected.sum() else salience[:0]
    return high_enough and chosen.sum() <= count and bool((missing <= slack).all())
