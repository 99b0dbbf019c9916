"""A race of candidates: those that fall behind are not judged on further images.

A search over P images spends most of its time on candidates that a few images show to be bad.
After each chunk of images, a candidate is dismissed that lies far behind the leader: a paired t
test, as in racing algorithms for model selection (Maron and Moore, 1994; Birattari and others,
2002). Those that are left at the end have been judged on all images. The leader is the luckiest
of many, and there are many tests, so the full search's best may be dismissed, if seldom.

Letters: B images, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.tuning.candidates import Candidate

CHUNK = 10
"""Images between two decisions."""
LEVEL = 0.001
"""One-sided level of each comparison with the leader."""

Judge = Callable[[Sequence[Candidate], Sequence[int]], np.ndarray]
"""Candidates (C) and images (b) -> rewards (C, b)."""


@dataclass(frozen=True)
class Rules:
    """Who judges, and when a candidate is dismissed.

    Attributes:
        judge: Gives rewards, higher is better.
        pairs: (B,) how many classes each image is rewarded for: a candidate's value is its
            reward over theirs.
        seed: Of the order of the images.
        chunk: Images between two decisions.
        level: Of the one-sided paired t test against the leader, above 0 and below 0.5.

    Raises:
        OvssError: No image has a class, or a number is out of range.
    """

    judge: Judge
    pairs: Sequence[int]
    seed: int = 0
    chunk: int = CHUNK
    level: float = LEVEL

    def __post_init__(self) -> None:
        """Check the fields."""
        if not sum(self.pairs):
            raise OvssError("no image has a class to be rewarded for; choose others")
        if self.chunk < 2 or not 0 < self.level < 0.5:
            raise OvssError(
                "a race needs chunks of 2 images or more and a level between 0 and 0.5, got "
                f"{self.chunk} and {self.level}"
            )

    @property
    def order(self) -> np.ndarray:
        """The images that have a class, in the order in which they are judged."""
        order = np.random.default_rng(self.seed).permutation(len(self.pairs))
        return order[np.asarray(self.pairs)[order] > 0]


@dataclass(frozen=True)
class Lap:
    """What stands after a chunk of images.

    Attributes:
        seen: Images judged so far.
        values: (C,) reward over classes so far; of dismissed candidates when they were dismissed.
        dismissed: Indices of candidates dismissed by this chunk.
        left: Indices of those still in the race.
        looks: Candidates times images judged so far.
    """

    seen: int
    values: np.ndarray
    dismissed: np.ndarray
    left: np.ndarray
    looks: int


def race(
    rules: Rules,
    candidates: Sequence[Candidate],
    known: Callable[[int], np.ndarray | None] = lambda seen: None,
    keep: Callable[[int, np.ndarray], None] = lambda seen, rewards: None,
) -> Iterator[Lap]:
    """Judge candidates chunk by chunk.

    Args:
        rules: Who judges, and when a candidate is dismissed.
        candidates: C of them.
        known: First picture of a chunk (its place in the order) -> rewards of those in the race
            that an earlier, interrupted race kept, or None.
        keep: Given the same of each chunk that was judged.

    Yields:
        What stands after each chunk. After the last one, `left` has been judged on everything.

    Example:
        >>> laps = race(Rules(lambda c, p: np.ones((len(c), len(p))), [1] * 20), [None] * 3)
        >>> [len(lap.left) for lap in laps]
        [3, 3]
    """
    order, pairs = rules.order, np.asarray(rules.pairs, np.float64)
    left: np.ndarray = np.arange(len(candidates))
    rewards = np.zeros((len(candidates), len(order)))
    values = np.zeros(len(candidates))
    looks = 0
    for start in range(0, len(order), rules.chunk):
        pictures = order[start : start + rules.chunk]
        seen = start + len(pictures)
        found = known(start)
        if found is None or found.shape != (len(left), len(pictures)):
            few = [candidates[int(index)] for index in left]
            found = rules.judge(few, [int(picture) for picture in pictures])
            keep(start, found)
        rewards[left, start:seen] = found
        looks += found.size
        values[left] = rewards[left, :seen].sum(1) / pairs[order[:seen]].sum()
        # After the last chunk nobody is spared a look: what is left is judged in full.
        behind = _behind(rewards[left, :seen], rules.level) if seen < len(order) else left < 0
        dismissed, left = left[behind], left[~behind]
        yield Lap(seen, values.copy(), dismissed, left, looks)


def _behind(rewards: np.ndarray, level: float) -> np.ndarray:
    """Which rows of (C, b) lie behind the leader by a paired t test: (C,) bool."""
    from scipy.stats import t

    if not len(rewards):
        return np.zeros(0, bool)
    # Of equal ones the first leads: it is no better than the others and dismisses none of them.
    ahead = rewards[rewards.sum(1).argmax()] - rewards
    count = ahead.shape[1]
    error = ahead.std(1, ddof=1) / np.sqrt(count)
    return np.asarray(ahead.mean(1) > t.isf(level, count - 1) * error)
