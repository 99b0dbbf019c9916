"""A race of candidates: those that fall behind are not judged on further images.

A search spends most of its time on candidates that a few images show to be bad. After each chunk of
images, a candidate is dismissed that lies far behind the leader: a paired t test, as in racing
algorithms for model selection (Maron and Moore, 1994; Birattari and others, 2002). Those that are
left at the end have been judged on all images. The leader is the luckiest of many, and there are
many tests, so the full search's best may be dismissed, if seldom.

Letters: B images, b images of a chunk, C candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from ovsslib.tuning.candidates import Candidate
    from ovsslib.tuning.objective import Objective

CHUNK = 10
"""Images between two decisions."""
LEVEL = 0.001
"""Level of each one-sided paired t test against the leader."""


class Memory(Protocol):
    """Keeps the rewards of chunks that were judged, so that an interrupted race can go on."""

    def get(self, chunk: int) -> np.ndarray | None:
        """What `put` kept for a chunk, or None."""

    def put(self, chunk: int, rewards: np.ndarray) -> None:
        """Keep a chunk's rewards, of the candidates that were still in the race."""


@dataclass(frozen=True)
class Lap:
    """The state of the race after a chunk of images.

    Attributes:
        images: How many have been judged so far.
        values: (C,) reward over classes so far; of dismissed candidates when they were dismissed.
        dismissed: Indices of candidates dismissed by this chunk.
        left: Indices of those still in the race.
        evaluations: How many pairs of candidate and image have been judged so far.
    """

    images: int
    values: np.ndarray
    dismissed: np.ndarray
    left: np.ndarray
    evaluations: int


def race(
    objective: Objective,
    candidates: Sequence[Candidate],
    *,
    seed: int = 0,
    memory: Memory | None = None,
) -> Iterator[Lap]:
    """Judge candidates chunk by chunk.

    Args:
        objective: Gives rewards of images. A candidate's value is their sum over that of classes.
        candidates: C of them.
        seed: Of the order of the images; those without a class are left out.
        memory: What an earlier, interrupted race of the same candidates kept.

    Yields:
        The state after each chunk. After the last one, `left` has been judged on every image.

    Raises:
        OvssError: No image has a class.
    """
    pairs = np.asarray(objective.pairs, np.float64)
    if not pairs.sum():
        raise OvssError("no image has a class to be rewarded for; choose others")
    order = np.random.default_rng(seed).permutation(len(pairs))
    order = order[pairs[order] > 0]
    left: np.ndarray = np.arange(len(candidates))
    rewards = np.zeros((len(candidates), len(order)))
    values = np.zeros(len(candidates))
    evaluations = 0
    for start in range(0, len(order), CHUNK):
        images = order[start : start + CHUNK].tolist()
        end = start + len(images)
        chunk = None if memory is None else memory.get(start)
        if chunk is None or chunk.shape != (len(left), len(images)):
            chunk = objective.per_image([candidates[index] for index in left.tolist()], images)
            if memory is not None:
                memory.put(start, chunk)
        rewards[left, start:end] = chunk
        evaluations += chunk.size
        values[left] = rewards[left, :end].sum(1) / pairs[order[:end]].sum()
        # After the last chunk nobody is dismissed: the remaining candidates have been judged on
        # every image.
        behind = _behind(rewards[left, :end]) if end < len(order) else np.zeros(len(left), bool)
        dismissed, left = left[behind], left[~behind]
        yield Lap(end, values.copy(), dismissed, left, evaluations)


def _behind(rewards: np.ndarray) -> np.ndarray:
    """Which rows of (C, b) lie behind the leader by a paired t test: (C,) bool."""
    from scipy.stats import t

    if not len(rewards):
        return np.zeros(0, bool)
    # Of equal ones the first leads: it is no better than the others and dismisses none of them.
    ahead = rewards[rewards.sum(1).argmax()] - rewards
    count = ahead.shape[1]
    error = ahead.std(1, ddof=1) / np.sqrt(count)
    return np.asarray(ahead.mean(1) > t.isf(LEVEL, count - 1) * error)
